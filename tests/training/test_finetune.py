"""Whole runs on the tiny model: what comes of them, and everything that can go wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from flux1 import FluxPipeline
from flux1.errors import DataError, DependencyError, Flux1Error, OutputError
from flux1.flow.path import velocity
from flux1.training.distributed import ALONE
from flux1.training.finetune.choose import choose_settings
from flux1.training.finetune.run import Finetune
from flux1.training.finetune.settings import Pictures, RunOptions
from flux1.variants import FLUX_DEV, FLUX_SCHNELL, TINY
from flux1.weights.files.safetensors import FileTensors, write_tensors
from flux1.weights.sources import locate
from shell import python
from synthetic import make_diffusers_folder
from training.folders import picture_folder

CPU = torch.device("cpu")


def finetune(
    data, out, options=None, model="tiny", variant=TINY, pictures=None, console=None, **given
):
    told = {"steps": 6, "batch_size": 2, "rank": 4, "alpha": 8, "warmup_steps": 0} | given
    if told.get("method") == "full":
        told |= {"rank": None, "alpha": None}
    pictures = pictures or Pictures((data,))
    return Finetune(
        locate(model), pictures, choose_settings(variant, torch.float32, **told),
        options or RunOptions(log_every=1), out, out / "cache", console or Console(quiet=True), CPU,
        ALONE,
    )  # fmt: skip


@pytest.fixture
def data(tmp_path):
    return picture_folder(tmp_path / "data")


def losses(out):
    rows = (json.loads(line) for line in (out / "log.jsonl").read_text().splitlines())
    return {row["step"]: (row["loss"], row["grad_norm"]) for row in rows if "loss" in row}


def tensors(file):
    found = FileTensors(file)
    return {name: found[name] for name in found}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_lora_learns_its_pictures_and_draws(data, tmp_path):
    out = tmp_path / "out"
    options = RunOptions(prompts=("a thing, number 1",), log_every=1)
    made = finetune(data, out, options, steps=100, learning_rate=1e-2).run()
    assert made == out / "lora.safetensors"
    seen = [loss for loss, _ in losses(out).values()]
    assert np.mean(seen[-20:]) < 0.7 * np.mean(seen[:20])
    assert (out / "preview-000100.png").exists()
    pipe = FluxPipeline.from_pretrained("tiny")
    plain = pipe("a thing", seed=0, steps=2).images[0]
    drawn = pipe("a thing", seed=0, steps=2, loras=[str(made)]).images[0]
    assert plain.tobytes() != drawn.tobytes()
    told = json.loads(FileTensors(made).metadata["flux1"])
    assert (told["model"], told["rank"], told["alpha"], told["guidance"]) == ("tiny", 4, 8.0, 1.0)


def test_what_is_drawn_along_the_way_is_what_the_file_draws(data, tmp_path):
    out = tmp_path / "out"
    made = finetune(data, out, RunOptions(prompts=("a fox",)), steps=20, learning_rate=1e-2).run()
    shown = np.asarray(Image.open(out / "preview-000020.png"), int)
    height, width, _ = shown.shape
    drawn = FluxPipeline.from_pretrained("tiny")(
        "a fox", seed=0, width=width, height=height, loras=[str(made)]
    ).images[0]
    assert np.abs(shown - np.asarray(drawn, int)).max() <= 1


def test_the_loss_of_a_perfect_network_is_zero(data, tmp_path):
    """And the guidance that it is told is 1."""
    from flux1.training.finetune.captioned import CaptionedObjective

    run, seen = finetune(data, tmp_path / "out", steps=1), []
    original = CaptionedObjective.loss

    def perfect(self, batch, generator):
        state = generator.get_state()
        noise = torch.randn((2, *batch.tokens.shape[1:]), generator=generator)
        generator.set_state(state)
        transformer = self.networks.transformer

        def knows(img, *rest):
            seen.append(rest[-1])
            return velocity(batch.tokens, noise)

        transformer.forward = knows
        loss, _ = original(self, batch, generator)
        del transformer.forward
        seen.append(loss.item())
        return original(self, batch, generator)

    CaptionedObjective.loss = perfect
    try:
        run.run()
    finally:
        CaptionedObjective.loss = original
    assert seen[0].tolist() == [1.0, 1.0]
    assert seen[1] == 0


def test_all_weights_are_learnt_into_a_folder_that_draws(data, tmp_path):
    made = finetune(data, tmp_path / "out", method="full", steps=30, learning_rate=1e-3).run()
    assert made == tmp_path / "out" / "model"
    tuned, plain = FluxPipeline.from_pretrained(made), FluxPipeline.from_pretrained("tiny")
    changed = [
        not torch.equal(value, plain.transformer.state_dict()[name])
        for name, value in tuned.transformer.state_dict().items()
    ]
    assert np.mean(changed) > 0.9
    same_words = zip(plain.text(["a fox"]), tuned.text(["a fox"]), strict=True)
    assert all(torch.equal(one.txt, other.txt) for one, other in same_words)
    assert tuned("a fox", seed=0, steps=2).images[0].size == (64, 64)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_model_with_clip_and_t5_is_taught(data, tmp_path, method):
    model = make_diffusers_folder(tmp_path / "FLUX.1-dev")
    variant = locate(str(model)).variant
    run = finetune(data, tmp_path / "out", model=str(model), variant=variant, method=method,
                   resolutions=(64,))  # fmt: skip
    made = run.run()
    if method == "lora":
        pipe = FluxPipeline.from_pretrained(model)
        pictures = pipe("a fox", width=64, height=64, steps=1, seed=0, loras=[str(made)])
    else:
        pictures = FluxPipeline.from_pretrained(made)("a fox", width=64, height=64, steps=1, seed=0)
    assert pictures.images[0].size == (64, 64)


def test_a_quantised_base_is_taught(data, tmp_path):
    out = tmp_path / "out"
    made = finetune(data, out, quantize="int8", steps=60, learning_rate=1e-2).run()
    seen = [loss for loss, _ in losses(out).values()]
    assert np.mean(seen[-15:]) < 0.8 * np.mean(seen[:15])
    assert not FileTensors(made)["transformer.proj_out.lora_A.weight".replace(
        "proj_out", "single_transformer_blocks.0.proj_out"
    )].isnan().any()  # fmt: skip


def test_a_lora_changes_only_the_layers_that_were_named(data, tmp_path):
    only = ("single_blocks.0.*", "*.img_attn.qkv")
    made = finetune(data, tmp_path / "out", RunOptions(layout="comfyui"), steps=1, only=only).run()
    names = {name.split(".lora_")[0] for name in tensors(made) if ".lora_" in name}
    assert names == {
        "diffusion_model.double_blocks.0.img_attn.qkv", "diffusion_model.single_blocks.0.linear1",
        "diffusion_model.single_blocks.0.linear2",
    }  # fmt: skip


def test_computing_blocks_again_changes_nothing(data, tmp_path):
    plain = finetune(data, tmp_path / "plain").run()
    again = finetune(data, tmp_path / "again", RunOptions(recompute=True)).run()
    assert same(tensors(plain), tensors(again))


# Resuming

RUN = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from training.test_finetune import RunOptions, finetune
finetune(Path({data!r}), Path({out!r}), RunOptions(log_every=1, checkpoint_every=3), steps=60,
         method={method!r}).run()
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_killed_in_the_middle_has_the_same_losses_and_weights(data, tmp_path, method):
    options = RunOptions(log_every=1, checkpoint_every=3)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    tests = Path(__file__).parents[1]
    script = RUN.format(path=[str(tests)], data=str(data), out=str(killed), method=method)
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (killed / "checkpoint.pt").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert torch.load(killed / "checkpoint.pt", weights_only=True)["step"] < 60
    again = finetune(data, killed, options, steps=60, method=method).run()
    once = finetune(data, whole, options, steps=60, method=method).run()
    assert losses(killed) == losses(whole)
    assert list(losses(whole)) == list(range(1, 61))
    if method == "full":
        again, once = again / "transformer.safetensors", once / "transformer.safetensors"
    assert same(tensors(again), tensors(once))


@pytest.mark.parametrize("optimizer", ["adamw", "adamw8bit"])
def test_a_run_that_is_asked_to_stop_keeps_its_step_and_goes_on(data, tmp_path, optimizer):
    out, asked = tmp_path / "out", iter([False, False, True])
    console = Console(file=StringIO(), width=200)
    begun = finetune(data, out, console=console, optimizer=optimizer)
    assert begun.run(lambda: next(asked)) is None
    assert "stopped after 3 of 6 steps" in console.file.getvalue()
    three = finetune(data, tmp_path / "three", optimizer=optimizer, steps=3).run()
    assert same(tensors(out / "lora.safetensors"), tensors(three))
    made = finetune(data, out, optimizer=optimizer).run()
    whole = finetune(data, tmp_path / "whole", optimizer=optimizer).run()
    assert same(tensors(made), tensors(whole))


def test_more_steps_go_on_from_the_last_ones_and_fewer_are_refused(data, tmp_path):
    out = tmp_path / "out"
    finetune(data, out, steps=4).run()
    longer = finetune(data, out, steps=9).run()
    assert same(tensors(longer), tensors(finetune(data, tmp_path / "whole", steps=9).run()))
    with pytest.raises(DataError, match=r"steps: 4 is fewer than the 9 that .*; nearest: 9"):
        finetune(data, out, steps=4).run()


def test_fewer_steps_than_it_was_begun_for_are_enough_once_they_are_done(data, tmp_path):
    out, asked = tmp_path / "out", iter([False, False, True])
    finetune(data, out, steps=9).run(lambda: next(asked))
    made = finetune(data, out, steps=4).run()
    assert same(tensors(made), tensors(finetune(data, tmp_path / "whole", steps=4).run()))


def test_checkpoints_that_are_kept_are_gone_back_to(data, tmp_path):
    """The other course is kept, and the new one is what it would have been from there."""
    out, whole, options = tmp_path / "out", tmp_path / "whole", RunOptions(save_every=2)
    made = finetune(data, out, options, steps=5).run()
    assert sorted(file.name for file in out.glob("*-0*")) == [
        "checkpoint-000002.pt", "checkpoint-000004.pt",
        "lora-000002.safetensors", "lora-000004.safetensors", "preview-000005.png",
    ][:4]  # fmt: skip
    first, five = tensors(out / "lora-000002.safetensors"), tensors(made)
    assert same(first, tensors(finetune(data, whole, steps=2).run()))
    console = Console(file=StringIO(), width=300)
    slow = {"learning_rate": 1e-5, "steps": 4}
    again = finetune(data, out, replace(options, from_step=2), console=console, **slow).run()
    said = console.file.getvalue()
    assert "from step 2 on, learning rate 1e-05 (before: " in said
    place = out / "before-going-back-to-000002"
    assert f"goes back to step 2; what came after it lies in {place}" in said
    assert same(tensors(place / "lora.safetensors"), five)
    assert (place / "checkpoint-000004.pt").exists()
    assert same(tensors(again), tensors(finetune(data, whole, **slow).run()))
    assert not same(tensors(again), five)
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["learning_rate"] == 1e-5
    told = json.loads((out / "run.json").read_text())["changes"]
    assert told[0]["from_step"] == 2
    assert told[0]["learning_rate"][1] == 1e-5
    with pytest.raises(DataError, match=r"from_step: 3 was not kept in .*0, 2, 4; nearest: 2"):
        finetune(data, out, replace(options, from_step=3), **slow).run()


@pytest.mark.parametrize("steps", [4, 5])
def test_the_plan_counts_the_checkpoints_that_are_kept(data, tmp_path, steps):
    from flux1.training.finetune.footprint import checkpoints_kept

    out = tmp_path / "out"
    run = finetune(data, out, RunOptions(save_every=2), steps=steps)
    run.run()
    files = {file.stat().st_ino for file in out.glob("checkpoint*.pt")}
    assert len(files) <= checkpoints_kept(run.settings, 2) - 1 <= len(files) + 1
    assert checkpoints_kept(choose_settings(FLUX_DEV, torch.bfloat16)) == 4 + 2
    assert checkpoints_kept(choose_settings(FLUX_DEV, torch.bfloat16, method="full")) == 2


def test_after_losses_that_are_no_numbers_a_lower_rate_goes_on(data, tmp_path):
    out = tmp_path / "out"
    finetune(data, out, RunOptions(save_every=1), steps=2).run()
    with pytest.raises(DataError, match="lower the learning rate and run again") as caught:
        finetune(data, out, RunOptions(save_every=1), steps=99, learning_rate=1e30).run()
    assert "\n" not in str(caught.value)
    made = finetune(data, out, RunOptions(from_step=2), steps=4, learning_rate=1e-4).run()
    assert all(value.isfinite().all() for value in tensors(made).values())


def test_a_run_in_bfloat16_is_one_on_a_cpu_too(data, tmp_path):
    near = {}
    for precision in ("float32", "bfloat16"):
        out = tmp_path / precision
        options = RunOptions(log_every=1, save_dtype="float32")
        finetune(data, out, options, steps=3, precision=precision).run()
        near[precision] = [loss for loss, _ in losses(out).values()]
    assert near["bfloat16"] == pytest.approx(near["float32"], rel=0.02)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_loras_file_has_the_numbers_that_were_asked_for(data, tmp_path, dtype):
    made = finetune(data, tmp_path / "out", RunOptions(save_dtype=dtype), steps=1).run()
    assert {one.dtype for one in tensors(made).values()} == {getattr(torch, dtype)}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"rank": 8}, "rank"),
        ({"seed": 1, "guidance": 3.5}, "guidance, seed"),
        ({"method": "full"}, "method"),
    ],
)
def test_a_folder_begun_otherwise_is_refused(data, tmp_path, change, word):
    finetune(data, tmp_path / "out", steps=1).run()
    with pytest.raises(DataError, match=f"was begun with other .*{word}"):
        finetune(data, tmp_path / "out", steps=1, **change).run()


def test_other_pictures_or_captions_are_another_run(data, tmp_path):
    finetune(data, tmp_path / "out", steps=1).run()
    (data / "0.txt").write_text("something else")
    with pytest.raises(DataError, match="was begun with other pictures"):
        finetune(data, tmp_path / "out", steps=1).run()


def test_the_second_run_encodes_nothing(data, tmp_path):
    out = tmp_path / "out"
    finetune(data, out, steps=1).run()
    kept = {file: file.stat().st_mtime_ns for file in (out / "cache").rglob("*.safetensors")}
    assert len(kept) == 6 + 7  # pictures; captions and the empty one
    other = replace(finetune(data, tmp_path / "other", steps=1, seed=1), cache=out / "cache")
    other.run()
    now = {file: file.stat().st_mtime_ns for file in (out / "cache").rglob("*.safetensors")}
    assert now == kept


def test_a_picture_of_a_repeated_folder_is_shown_so_many_times(tmp_path, monkeypatch):
    from flux1.training.finetune.encoded import EncodedPictures

    picture_folder(tmp_path / "data" / "3_often", 1, sizes=((64, 64),))
    (tmp_path / "data" / "3_often" / "0.png").rename(tmp_path / "data" / "3_often" / "often.png")
    (tmp_path / "data" / "3_often" / "0.txt").unlink()
    picture_folder(tmp_path / "data" / "once", 2, sizes=((64, 64),))
    (tmp_path / "data" / "once" / "0.png").unlink()
    shown, batch = [], EncodedPictures.batch

    def seen(self, step, text):
        made = batch(self, step, text)
        shown.extend(made.names)
        return made

    monkeypatch.setattr(EncodedPictures, "batch", seen)
    finetune(tmp_path / "data", tmp_path / "out", steps=4).run()
    assert sorted(shown) == ["3_often/often.png"] * 6 + ["once/1.png"] * 2


# Bad input


def test_bad_pictures_are_named_at_the_beginning_and_at_the_end(data, tmp_path):
    Image.new("RGB", (12, 9)).save(data / "tiny.png")
    (data / "tiny.txt").write_text("tiny")
    Image.new("CMYK", (64, 64), (9, 200, 30, 0)).save(data / "print.tiff")
    (data / "print.txt").write_text("print")
    cut = (data / "0.png").read_bytes()
    (data / "cut.png").write_bytes(cut[: len(cut) // 2])
    (data / "cut.txt").write_text("cut")
    console = Console(file=StringIO(), width=200)
    finetune(data, tmp_path / "out", console=console).run()
    said = console.file.getvalue().splitlines()
    assert said[0] == "7 pictures, 2 sizes"
    for line in (
        "1 of less than a quarter of 64x64 pixels, left out: tiny.png (12x9)",
        "1 in CMYK, brought to RGB: print.tiff",
    ):
        assert said.count(line) == 2
    unreadable = [line for line in said if line.startswith("1 unreadable, left out: cut.png (")]
    assert len(unreadable) == 2


def test_latents_that_are_not_finite_are_named_and_the_run_goes_on_without_them(data, tmp_path):
    out = tmp_path / "out"
    finetune(data, out, steps=1).run()
    (out / "checkpoint.pt").unlink()
    broken = sorted((out / "cache" / "latents").iterdir())[0]
    tokens = FileTensors(broken)["tokens"].clone()
    tokens[0, 0] = torch.nan
    write_tensors(broken, {"tokens": tokens})
    console = Console(file=StringIO(), width=200)
    made = finetune(data, out, steps=20, console=console).run()
    assert "1 without a finite loss, left out of their steps: " in console.file.getvalue()
    assert all(value.isfinite().all() for value in tensors(made).values())
    assert len(losses(out)) >= 15  # a batch may hold the broken one alone, twice


def test_gradients_that_never_are_finite_stop_the_run_with_the_checkpoint_as_it_was(data, tmp_path):
    out = tmp_path / "out"
    finetune(data, out, steps=3).run()
    kept = (out / "checkpoint.pt").read_bytes()
    for file in (out / "cache" / "latents").iterdir():
        tokens = FileTensors(file)["tokens"]
        write_tensors(file, {"tokens": torch.full_like(tokens, torch.nan)})
    with pytest.raises(DataError, match=r"loss nan and gradient norm nan at step 13"):
        finetune(data, out, steps=100).run()
    assert (out / "checkpoint.pt").read_bytes() == kept


FULL_DISK = """
import resource, sys
sys.path[:0] = {path!r}
from pathlib import Path
from training.test_finetune import finetune
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
try:
    finetune(Path({data!r}), Path({out!r}), steps=9).run()
except Exception as failure:
    print(type(failure).__name__, failure)
"""


def test_a_disk_that_is_full_keeps_the_last_checkpoint_and_the_run_goes_on_later(data, tmp_path):
    out = tmp_path / "out"
    finetune(data, out, steps=3).run()
    kept = (out / "checkpoint.pt").read_bytes()
    script = FULL_DISK.format(
        path=[str(Path(__file__).parents[1])], data=str(data), out=str(out), size=len(kept) // 2
    )
    done = python(script)
    assert "OutputError" in done.stdout, done.stderr
    assert "the checkpoint of step 9 cannot be written (File too large)" in done.stdout
    assert "the one before is kept" in done.stdout
    assert (out / "checkpoint.pt").read_bytes() == kept
    assert not (out / "checkpoint.pt.partial").exists()
    made = finetune(data, out, steps=9).run()
    assert same(tensors(made), tensors(finetune(data, tmp_path / "whole", steps=9).run()))


def test_a_log_that_cannot_be_written_is_one_line_and_the_checkpoint_stays(data, tmp_path):
    out = tmp_path / "out"
    finetune(data, out, steps=3).run()
    kept = (out / "checkpoint.pt").read_bytes()
    (out / "log.jsonl").unlink()
    (out / "log.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"log\.jsonl: cannot be written: Is a directory"):
        finetune(data, out, steps=5).run()
    assert (out / "checkpoint.pt").read_bytes() == kept


@pytest.mark.skipif(sys.platform != "linux", reason="names of files that are not Unicode")
def test_a_file_may_be_named_by_any_bytes(data, tmp_path):
    odd = os.fsencode(data) + b"/caf\xe9"
    os.rename(data / "0.png", odd + b".png")
    os.rename(data / "0.txt", odd + b".txt")
    console = Console(file=StringIO(), width=200)
    finetune(data, tmp_path / "out", console=console, steps=1).run()
    assert console.file.getvalue().startswith("6 pictures")


def test_captions_that_are_longer_than_what_is_read_are_named(data, tmp_path):
    (data / "0.txt").write_text("a thing, number 0 " + "and so on " * 20 + "and the end")
    console = Console(file=StringIO(), width=300)
    finetune(data, tmp_path / "out", console=console, steps=1).run()
    said = console.file.getvalue().splitlines()
    line = "1 of more than 32 tokens in words, the rest is not read: 0.png (from "
    assert sum(one.startswith(line) for one in said) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rank": 65}, r"rank: 65 is above the width of .*; nearest: 64"),
        ({"only": ("single_block.*",)}, r"only: 'single_block\.\*' is the name of none of the "),
        ({"rank": 0}, "rank: 0: input should be greater than 0"),
        ({"resolutions": (20,)}, "resolution: 20 is not from 64 to 2048; nearest: 64"),
        ({"layers": "some"}, "layers: 'some': input should be 'attention', 'blocks' or 'all'"),
        ({"caption_dropout": 2.0}, "caption_dropout: 2.0"),
        ({"precision": "float16"}, "precision: 'float16': input should be"),
        ({"quantize": "fp8"}, "quantize: fp8 needs a graphics card"),
        ({"method": "full", "layers": "all"}, "layers: 'all' has no effect when all weights"),
        ({"method": "full", "quantize": "int8"}, "quantize: 'int8': weights that are trained"),
    ],
)
def test_settings_that_cannot_be_are_one_line(data, tmp_path, change, words):
    with pytest.raises(Flux1Error, match=words) as caught:
        finetune(data, tmp_path / "out", **change).run()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()  # no picture was encoded


def test_options_that_cannot_be_are_one_line(data, tmp_path):
    with pytest.raises(DataError, match="format: 'peft' is not one of"):
        finetune(data, tmp_path / "out", RunOptions(layout="peft")).run()
    with pytest.raises(DataError, match="logger: 'csv' is not one of"):
        finetune(data, tmp_path / "out", RunOptions(loggers=("csv",))).run()
    assert issubclass(DependencyError, Flux1Error)


def test_defaults_suit_the_model():
    dev = choose_settings(FLUX_DEV, torch.bfloat16)
    assert (dev.learning_rate, dev.batch_size, dev.resolutions) == (1e-4, 1, (1024,))
    assert (dev.rank, dev.alpha, dev.guidance, dev.precision) == (16, 16.0, 1.0, "bfloat16")
    assert choose_settings(FLUX_DEV, torch.bfloat16, rank=32).alpha == 32.0
    assert choose_settings(FLUX_DEV, torch.bfloat16, processes=4).batch_size == 4
    assert choose_settings(FLUX_DEV, torch.bfloat16, method="full").learning_rate == 1e-5
    assert choose_settings(FLUX_SCHNELL, torch.bfloat16).guidance is None
    with pytest.raises(DataError, match=r"guidance: 1.0 would have no effect: flux-schnell"):
        choose_settings(FLUX_SCHNELL, torch.bfloat16, guidance=1.0)
    with pytest.raises(DataError, match="batch_size: 5 is no multiple of the 2 processes"):
        choose_settings(TINY, torch.float32, processes=2, batch_size=5)
    with pytest.raises(DataError, match="optimizer: adamw8bit keeps its moments in blocks"):
        choose_settings(TINY, torch.float32, 2, method="full", optimizer="adamw8bit")
    with pytest.raises(DataError, match="optimizer: 'adam': input should be 'adamw' or"):
        choose_settings(TINY, torch.float32, optimizer="adam")


def test_an_output_that_is_a_file_is_one_line(data, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises((OutputError, DataError), match="out"):
        finetune(data, tmp_path / "out").run()
