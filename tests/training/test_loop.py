"""The loop on real objectives: it learns, and a run cut in two is the run that was not."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from flux1.errors import DataError
from flux1.training.loop import LoopSettings, rate_at, step_seed, train
from flux1.training.mini.autoencoder import AutoencoderObjective, Crops
from flux1.training.mini.scenes import SpriteWorld
from flux1.training.mini.worlds import painter
from flux1.variants import TINY
from flux1.weights.load import random_autoencoder

SILENT = Console(quiet=True)


def settings(**changes):
    fields = {
        "steps": 8, "batch_size": 2, "learning_rate": 2e-3, "matrix_learning_rate": 2e-3,
        "warmup_steps": 2, "checkpoint_every": 1000, "preview_every": 1000, "log_every": 4,
    }  # fmt: skip
    return LoopSettings(**fields | changes)


def objective(sprites):
    model = random_autoencoder(TINY.autoencoder, 0).train().requires_grad_(True)
    return AutoencoderObjective(
        model, Crops(painter(SpriteWorld(sprites), (32, 32)), 2, 0, side=16)
    )


def test_a_run_stopped_and_resumed_is_bit_for_bit_the_run_that_was_not(sprites, tmp_path):
    whole = train(objective(sprites), settings(), tmp_path / "whole", SILENT)
    asked = iter(range(100))
    train(objective(sprites), settings(), tmp_path / "cut", SILENT, lambda: next(asked) == 2)
    resumed = train(objective(sprites), settings(), tmp_path / "cut", SILENT)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    states = [torch.load(tmp_path / f / "checkpoint.pt") for f in ("whole", "cut")]
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name]), name


KILLED_RUN = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from synthetic import disc_sprites
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location('test_loop', {tests!r} + '/training/test_loop.py')
test_loop = module_from_spec(spec)
spec.loader.exec_module(test_loop)
test_loop.train(
    test_loop.objective(disc_sprites()), test_loop.settings(steps=60, checkpoint_every=1),
    Path({folder!r}), test_loop.SILENT,
)
"""


@pytest.mark.slow
def test_a_run_killed_in_the_middle_ends_with_the_same_weights(sprites, tmp_path):
    chosen = settings(steps=60, checkpoint_every=1)
    tests, folder = Path(__file__).parents[1], tmp_path / "killed"
    script = KILLED_RUN.format(tests=str(tests), folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not (folder / "checkpoint.pt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
    process.kill()
    process.wait()
    assert 1 <= torch.load(folder / "checkpoint.pt", weights_only=True)["step"] < 60
    resumed = train(objective(sprites), chosen, folder, SILENT).state_dict()
    whole = train(objective(sprites), chosen, tmp_path / "whole", SILENT).state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_the_loss_falls(sprites, tmp_path):
    job = objective(sprites)
    batch = job.batch(0)
    before = job.loss(batch, torch.Generator().manual_seed(0))[0].item()
    train(job, settings(steps=60), tmp_path, SILENT)
    after = job.loss(batch, torch.Generator().manual_seed(0))[0].item()
    assert after < 0.7 * before


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(sprites, tmp_path):
    train(objective(sprites), settings(steps=4), tmp_path, SILENT)
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    broken = objective(sprites)
    broken.edge_weight = float("nan")
    with pytest.raises(DataError, match=r"loss nan .* at step 4"):
        train(broken, settings(steps=8), tmp_path, SILENT)
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept


def test_a_checkpoint_of_another_run_is_refused(sprites, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="does not continue this run"):
        train(objective(sprites), settings(), tmp_path, SILENT)


def test_rate_warms_up_holds_and_falls_to_zero():
    chosen = settings(steps=100, warmup_steps=10, decay_fraction=0.5)
    rates = [rate_at(step, chosen) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:50] == [1.0] * 40
    assert rates[75] == pytest.approx(0.5)
    assert rates[100] == 0


def test_every_step_has_a_seed_of_its_own():
    seeds = {step_seed(s, n) for s in range(10) for n in range(1000)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)
