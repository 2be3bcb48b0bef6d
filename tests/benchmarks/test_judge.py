"""The judge is trained and checked, in its smallest run, and leaves its own file alone."""

import numpy as np
import pytest

import judge
from adherence.cases import SETS
from adherence.judge import WEIGHTS, Judge
from flux1.training.mini.vocabulary import NOUNS
from synthetic import disc_sprites


@pytest.fixture(scope="module")
def sprites(tmp_path_factory):
    path = tmp_path_factory.mktemp("sprites") / "sprites.npz"
    np.savez(path, nouns=np.array(NOUNS), **disc_sprites().rgba)
    return path


def test_a_judge_is_trained_measured_and_kept(sprites, tmp_path, capsys):
    own, file = WEIGHTS.read_bytes(), tmp_path / "judge.safetensors"
    judge.train(sprites, steps=2, batch=4, limit=1, file=file)
    trained = Judge.open(file)
    assert trained.about["steps"] == "2"
    assert list(trained.trust) == list(SETS)
    assert all(total == 3 for _, total in (one["right"] for one in trained.trust.values()))
    assert "single_object" in capsys.readouterr().out
    before = file.read_bytes()
    judge.check(sprites, side=64, limit=1, file=file)
    assert file.read_bytes() == before  # what is found of a few, or elsewhere, is only said
    assert WEIGHTS.read_bytes() == own
