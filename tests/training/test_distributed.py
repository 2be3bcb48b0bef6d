"""Two processes give what one gives: real ones, started by torchrun, that talk over gloo."""

import json
import subprocess
import sys

import pytest
import torch

from flux1.training.distributed import ALONE, World
from flux1.weights.files.safetensors import FileTensors
from training.folders import picture_folder

STEPS = 8


def train(data, out, method, *options, processes=1, steps=STEPS):
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    command += [
        "flux1", "train", method, "--model", "tiny", "--data", str(data), "--out", str(out),
        "--steps", str(steps), "--batch-size", "4", "--log-every", "1", "--checkpoint-every", "4",
        "--warmup", "0", *options,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [[row["loss"], row["grad_norm"]] for row in rows], done.stderr


def tensors(file):
    found = FileTensors(file)
    return {name: found[name] for name in found}


@pytest.mark.slow
@pytest.mark.parametrize("options", [("lora", "--rank", "4"), ("full", "--lr", "1e-3")], ids=str)
def test_two_processes_are_one(tmp_path, options):
    data = picture_folder(tmp_path / "data")
    one, _ = train(data, tmp_path / "one", *options)
    two, said = train(data, tmp_path / "two", *options, processes=2)
    assert len(one) == STEPS
    torch.testing.assert_close(torch.tensor(two), torch.tensor(one), rtol=1e-4, atol=1e-5)
    assert said.count("6 pictures, 2 sizes") == 1  # the first process speaks
    name = "lora.safetensors" if "--rank" in options else "model/transformer.safetensors"
    wanted, found = tensors(tmp_path / "one" / name), tensors(tmp_path / "two" / name)
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-4)

    # what two began, one goes on with, and the other way round
    longer, _ = train(data, tmp_path / "two", *options, steps=STEPS + 4)
    both, _ = train(data, tmp_path / "one", *options, processes=2, steps=STEPS + 4)
    torch.testing.assert_close(torch.tensor(longer), torch.tensor(both), rtol=1e-3, atol=1e-4)


def test_alone_everything_is_ones_own():
    rows = torch.arange(6.0)
    assert ALONE.first
    assert torch.equal(ALONE.own(rows), rows)
    assert torch.equal(ALONE.gather(rows), rows)
    assert ALONE.share("x") == "x"


def test_shares_of_a_batch_fit_together():
    rows = torch.arange(6)
    parts = [World(rank, 3).own(rows) for rank in range(3)]
    assert torch.equal(torch.stack(parts, 1).flatten(), rows)
