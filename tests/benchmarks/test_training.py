"""The training benchmarks, in their smallest run, on the tiny model."""

import pytest
from typer.testing import CliRunner

import lora_everywhere
import new_object
import trainer
from benchmark_results import written


def test_the_loop_beside_a_bare_one(tmp_path):
    trainer.main(model="tiny", threads=0, turns=1, batch_size=2, out=tmp_path)
    figures = written(tmp_path, "trainer")
    ((clock, _),) = figures["share_of_each_turn"]
    assert figures["share"]["clock"] == clock > 0
    rate = figures["images_per_s"]
    assert clock == pytest.approx(rate["loop"] / rate["bare"])
    assert len(figures["seconds"]) == 1


def test_a_lora_draws_the_same_picture_everywhere(tmp_path):
    lora_everywhere.main(steps=1, side=32, sampling_steps=2, threads=0, out=tmp_path)
    apart = written(tmp_path, "lora-everywhere")["apart"]
    assert set(apart) == {"plain", "gguf", "int8"}
    for found in apart.values():
        assert found["without_the_lora"]["latents"] > 0
        for other in ("diffusers", "merged"):
            assert found[other]["levels"] <= 1
            assert found[other]["latents"] < 0.01 * found["without_the_lora"]["latents"]


def test_a_new_object_is_trained_drawn_and_judged(tmp_path):
    options = ["--model", "tiny", "--place", tmp_path / "run", "--limit", "2", "--threads", "0",
               "--out", tmp_path, "--steps", "1"]  # fmt: skip
    done = CliRunner().invoke(new_object.app, list(map(str, options)))
    assert done.exit_code == 0, done.output
    figures = written(tmp_path, "new-object")
    assert figures["training"]["command"].endswith("--steps 1")
    assert figures["true_pictures"]["right"] == {"seen background": [2, 2]}
    assert figures["without"]["right"] == {"seen background": [0, 2]}  # random weights draw noise
    assert len(figures["with_lora"]["pictures"]) == 2
    assert list(tmp_path.glob("new-object-*.webp"))
