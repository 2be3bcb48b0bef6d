"""`flux1 train`: the short form stays, every option is documented, and the tutorial's lines run."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer

from flux1.cli.train import app
from flux1.errors import DependencyError
from shell import flux1, python
from training.folders import picture_folder

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("words", [(), ("--list",), ("recipe", "--list"), ("recipe",)])
def test_recipes_are_listed_with_and_without_the_word(words):
    done = flux1("train", *words)
    assert done.returncode == 0, done.stderr
    assert "flux-mini" in done.stdout.splitlines()


@pytest.mark.parametrize(
    "words", [("flux-mimi", "--out", "x"), ("--out", "x", "flux-mimi"), ("recipe", "flux-mimi")]
)
def test_a_recipe_is_run_with_and_without_the_word(words, tmp_path):
    done = flux1("train", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "recipe: no recipe and no .toml file 'flux-mimi' (did you mean 'flux-mini'?)" in (
        done.stderr
    )


def test_what_a_recipe_lacks_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(
        DependencyError, match=r"^training a recipe needs resvg_py, .+'\.\[train\]'$"
    ):
        app(["flux-mini", "--out", str(tmp_path / "run")], standalone_mode=False)
    assert list(tmp_path.iterdir()) == []


def test_help_names_all():
    done = flux1("train", "--help")
    for command in ("lora", "full", "recipe"):
        assert re.search(rf"\b{command}\b", done.stdout)


def test_every_option_stands_in_the_reference():
    page = (ROOT / "docs/reference/command-line.md").read_text()
    section = page.split("## flux1 train\n")[1].split("\n## ")[0]
    commands = typer.main.get_command(app).commands
    options = {
        option
        for command in ("lora", "full", "recipe")
        for parameter in commands[command].params
        for option in parameter.opts
        if option.startswith("-") and not parameter.hidden
    }
    assert "--gradient-checkpointing" in options
    for option in options:
        assert f"`{option}`" in section, option


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--data", "nowhere"), "data: nowhere is not a folder"),
        (("--data", "data", "--rank", "-1"), "rank: -1: input should be greater than 0"),
        (("--data", "data", "--model", "flux-mimi"), "did you mean 'flux-mini'?"),
        (("--data", "data", "--format", "peft"), "format: 'peft' is not one of diffusers, "),
        (("--data", "data", "--full"), "full: all weights are trained by `flux1 train full`"),
        (
            ("--data", "data", "--log-every", "0"),
            "'--log-every': Input should be greater than or equal to 1",
        ),
        (("--data", "data", "--validation-prompt", " "), "prompt: is empty"),
        (("--data", "data", "--precision", "half"), "'half' is not one of float32, bfloat16"),
        (("--data", "data", "--device", "tpu"), "device: 'tpu' is not a device"),
        (
            ("--data", "data", "--caption", "a", "--caption", "b"),
            "caption: --caption is given twice",
        ),
        (("--data", "data", "--data", "nowhere"), "data: nowhere is not a folder"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_2(tmp_path, words, said):
    picture_folder(tmp_path / "data", 1)
    model = () if "--model" in words else ("--model", "tiny")
    done = flux1("train", "lora", *model, *words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


@pytest.mark.slow
def test_ctrl_c_keeps_the_step_and_the_same_command_goes_on(tmp_path):
    data, out = picture_folder(tmp_path / "data"), tmp_path / "out"
    words = ("train", "lora", "--model", "tiny", "--data", data, "--out", out, "--log-every", 1)
    command = [sys.executable, "-m", "flux1", *map(str, words), "--steps", "20000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("step 3/"):
            break
    os.kill(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait() == 0
    (stopped,) = re.findall(r"stopped after (\d+) of 20000 steps", rest)
    assert torch.load(out / "checkpoint.pt", weights_only=True)["step"] == int(stopped) >= 3
    again = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    steps = (line for line in again.stderr if line.startswith("step "))
    assert next(steps).startswith(f"step {int(stopped) + 1}/")
    again.kill()
    again.communicate()


def test_ctrl_c_before_the_first_step_ends_it_at_once(tmp_path):
    """Nothing is lost by that: what was encoded is kept."""
    data, out = picture_folder(tmp_path / "data", 400), tmp_path / "out"
    words = ("train", "lora", "--model", "tiny", "--data", data, "--out", out)
    process = subprocess.Popen(
        [sys.executable, "-m", "flux1", *map(str, words)], stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's `&` ignores it
    )  # fmt: skip
    latents = out / "cache" / "latents"
    while not latents.exists():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    said = process.stderr.read()
    assert process.wait() != 0
    assert "Traceback" not in said
    assert not (out / "checkpoint.pt").exists()


def test_the_tutorials_lines_run(tmp_path):
    """All but the install, with two steps instead of the many."""
    page = (ROOT / "docs/tutorial/train-a-lora.md").read_text()
    lines = [
        line
        for block in re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        for line in block.replace("\\\n", "").splitlines()
        if not line.startswith("pip ")
    ]
    assert sum(line.startswith("flux1 train lora") for line in lines) == 1
    for line in lines:
        program, *words = shlex.split(re.sub(r"--steps \d+", "--steps 2", line))
        if program == "flux1":
            done = flux1(*words, cwd=tmp_path)
        else:
            assert program == "python"
            done = python((ROOT / words[0]).read_text(), *words[1:], cwd=tmp_path)
        assert done.returncode == 0, (line, done.stderr)
    assert len(list((tmp_path / "zorb").glob("*.png"))) == 12
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "red.png", "purple.png", "cat.png", "fish.png", "half.png", "without.png",
    }  # fmt: skip
