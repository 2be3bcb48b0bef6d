"""The endless walk: who is shown when, and how often."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from flux1.errors import DataError
from flux1.pipeline.encode import Conditioning
from flux1.training.distributed import World
from flux1.training.finetune.encoded import EncodedPicture, EncodedPictures
from flux1.weights.files.safetensors import write_tensors


class Words:
    """A text encoder whose states say which prompt it was asked."""

    networks = ()

    def __call__(self, prompts, at_least=None):
        return [Conditioning(torch.full((2, 3), float(len(p))), torch.zeros(4)) for p in prompts]

    def count(self, prompt):
        return 2


@pytest.fixture
def pictures(tmp_path):
    """Seven of one size, two of another, one of a third."""
    made = []
    for number, grid in enumerate([(2, 2)] * 7 + [(2, 3)] * 2 + [(1, 4)]):
        file = tmp_path / f"{number}.safetensors"
        tokens = torch.full((grid[0] * grid[1], 4), float(number)).half()
        write_tensors(file, {"tokens": tokens})
        made.append(EncodedPicture(f"{number}.png", "x" * (number + 1), file, grid))
    return EncodedPictures(tuple(made), batch_size=4, seed=3, caption_dropout=0.0)


def shown(pictures, steps):
    counted = Counter()
    for step in steps:
        counted.update(pictures.batch(step, Words()).names)
    return counted


def test_every_picture_is_shown_equally_often_however_few_there_are_of_its_size(pictures):
    counted = shown(pictures, range(1000))
    assert len(counted) == 10
    assert max(counted.values()) <= 1.05 * 400
    assert min(counted.values()) >= 0.95 * 400


def test_a_batch_is_of_one_size_with_each_pictures_own_words(pictures):
    for step in range(40):
        batch = pictures.batch(step, Words())
        assert batch.tokens.shape == (4, batch.grid[0] * batch.grid[1], 4)
        numbers = [int(name.removesuffix(".png")) for name in batch.names]
        assert batch.tokens[:, 0, 0].tolist() == numbers
        assert batch.txt[:, 0, 0].tolist() == [n + 1 for n in numbers]


def test_within_a_size_all_come_before_one_comes_again(pictures):
    alone = replace(pictures, pictures=pictures.pictures[:7], batch_size=1)
    names = [alone.batch(step, Words()).names[0] for step in range(21)]
    for epoch in range(3):
        assert len(set(names[7 * epoch : 7 * epoch + 7])) == 7
    assert names[:7] != names[7:14]


def test_a_batch_depends_on_its_number_alone(pictures):
    late = replace(pictures).batch(500, Words())
    for step in range(500):
        pictures.batch(step, Words())
    again = pictures.batch(500, Words())
    assert late.names == again.names
    assert torch.equal(late.tokens, again.tokens)
    assert pictures.batch(501, Words()).names != late.names


def test_captions_are_dropped_in_their_share(pictures):
    half = replace(pictures, caption_dropout=0.5)
    lengths = torch.cat([half.batch(step, Words()).txt[:, 0, 0] for step in range(200)])
    assert 0.42 <= (lengths == 0).float().mean() <= 0.58
    assert torch.equal(half.batch(7, Words()).txt, half.batch(7, Words()).txt)


@pytest.mark.parametrize("size", [2, 4])
def test_processes_share_a_batch_without_gap_or_overlap(pictures, size):
    for dropout in (0.0, 0.5):
        dropping = replace(pictures, caption_dropout=dropout)
        for step in range(20):
            whole = dropping.batch(step, Words())
            parts = [
                replace(dropping, world=World(rank, size)).batch(step, Words())
                for rank in range(size)
            ]
            for field in ("tokens", "txt"):
                ours = torch.stack([getattr(part, field) for part in parts], dim=1).flatten(0, 1)
                assert torch.equal(ours, getattr(whole, field))


def test_latents_that_vanish_are_one_line_with_the_pictures_name(pictures):
    first = pictures.batch(0, Words()).names[0]
    for picture in pictures.pictures:
        picture.latents.write_bytes(b"gone")
    with pytest.raises(DataError, match=f"{first}: what was encoded of it"):
        pictures.batch(0, Words())
