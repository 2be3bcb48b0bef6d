"""`flux1 convert checkpoint.pt`: what a stopped run has learnt, in files that others read."""

import pytest
import torch

from flux1.variants import TINY
from flux1.weights.lora.read import read_lora
from shell import flux1
from training.folders import picture_folder
from training.test_finetune import finetune, same, tensors


def test_a_loras_checkpoint_is_the_file_that_the_run_writes(tmp_path):
    out = tmp_path / "out"
    made = finetune(picture_folder(tmp_path / "data"), out, steps=2).run()
    place = tmp_path / "kohya.safetensors"
    words = ("convert", out / "checkpoint.pt")
    done = flux1(*words, tmp_path / "again.safetensors", "--to", "diffusers")
    assert done.returncode == 0, done.stderr
    assert same(tensors(tmp_path / "again.safetensors"), tensors(made))
    assert made.read_bytes() == (tmp_path / "again.safetensors").read_bytes()
    done = flux1(*words, place, "--to", "kohya", "--dtype", "fp16")
    assert done.returncode == 0, done.stderr
    assert {one.dtype for one in tensors(place).values()} == {torch.float16}
    one, other = (read_lora(file, TINY.transformer).deltas for file in (made, place))
    assert one.keys() == other.keys()
    again = flux1(*words, place, "--to", "kohya")
    assert again.returncode == 2
    assert again.stderr == f"flux1: {place}: is there already; --overwrite writes over it\n"
    for rest, said in (
        (("--to", "gguf"), "which is written as diffusers, comfyui, kohya"),
        (("--to", "kohya", "--dtype", "nf4"), "a LoRA is written in fp32, bf16, fp16"),
        (("--to", "kohya", "--part", "clip"), "is the checkpoint of a LoRA"),
    ):
        refused = flux1(*words, tmp_path / "x.safetensors", *rest)
        assert refused.returncode == 2
        assert said in refused.stderr


@pytest.mark.parametrize("ema", [0.9, 0.0])
def test_a_models_checkpoint_becomes_the_weights_that_the_run_writes(tmp_path, ema):
    out, place = tmp_path / "out", tmp_path / "tuned"
    data = picture_folder(tmp_path / "data", 2)
    made = finetune(data, out, steps=2, method="full", ema_decay=ema).run()
    done = flux1("convert", out / "checkpoint.pt", place, "--to", "diffusers")
    assert done.returncode == 0, done.stderr
    back = tmp_path / "back.safetensors"
    done = flux1("convert", place, back, "--to", "bfl")
    assert done.returncode == 0, done.stderr
    assert same(tensors(back), tensors(made / "transformer.safetensors"))
    assert {file.name for file in tmp_path.iterdir()} == {
        "out", "data", "tuned", "back.safetensors",
    }  # fmt: skip
