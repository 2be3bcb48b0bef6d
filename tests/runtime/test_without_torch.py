"""Where torch cannot be imported, the same picture is drawn."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from flux1 import make_request
from flux1.export.parity import levels_apart
from graphs import by_torch, exported

ROOT = Path(__file__).parents[2]
ABSENT = (
    "accelerate", "diffusers", "gguf", "huggingface_hub", "onnx", "peft", "safetensors", "torch",
    "transformers",
)  # fmt: skip
COMMAND = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Absent())
from flux1.cli.main import main
main()
"""


def draw(picture, absent, *options):
    """`flux1 generate --runtime onnx` where these cannot be imported."""
    command = COMMAND.replace("ABSENT", repr(absent))
    words = ["generate", "a red fox", "--runtime", "onnx", "--seed", "3", "-o", picture, *options]
    return subprocess.run(
        [sys.executable, "-c", command, *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("model", ["flux-mini", "flux-mini-schnell"])
def test_the_command_draws_torchs_picture(model, tmp_path):
    asked = ("--model", exported(model), "--steps", "4", "--upscale", "2")
    done = draw(tmp_path / "x.png", ABSENT, *asked)
    assert done.returncode == 0, done.stderr
    torch = by_torch(model)
    request = make_request(torch.variant, "a red fox", seed=3, steps=4, upscale=2)
    (wanted,) = torch.draw(request).images
    apart = levels_apart(Image.open(tmp_path / "x.png"), wanted)
    assert apart.max() <= 4  # one level of what was drawn, enlarged
    assert apart.mean() < 0.05


def test_a_missing_onnx_runtime_is_said_in_one_line(tmp_path):
    done = draw(tmp_path / "x.png", ("onnxruntime",), "--model", exported("tiny"))
    assert (done.returncode, done.stderr) == (
        2,
        "flux1: runtime onnx needs onnxruntime, which is not installed; "
        "in a clone of flux1: pip install -c constraints.txt '.[onnx]'\n",
    )  # fmt: skip


EVERY_COMMAND = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout

for words in json.loads(sys.argv.pop()):
    sys.argv[1:] = words
    said, ended = io.StringIO(), 0
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            ended = end.code
    print(json.dumps([ended, said.getvalue()]))
"""


def test_every_command_works_or_says_in_one_line_what_to_install(tmp_path):
    picture = tmp_path / "grey.png"
    Image.new("RGB", (8, 8)).save(picture)
    lines = (
        "generate fox", "generate fox --memory auto", "models", "models --json", "words",
        "plan draw", "plan train", "plan train --full", f"inspect {picture}",
        f"convert {picture} out --to bfl", "download flux-dev", "export onnx --out graphs",
        "train recipe flux-mini", f"train lora --data {tmp_path}", f"train full --data {tmp_path}",
        f"upscale {picture}", f"serve --demo --port 0 --data {tmp_path / 'data'}",
    )  # fmt: skip
    words = [line.split() for line in lines]
    command = COMMAND.replace("ABSENT", repr(ABSENT)).removesuffix("main()\n") + EVERY_COMMAND
    done = subprocess.run(
        [sys.executable, "-c", command, json.dumps(words)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(lines), done.stderr
    for line, (ended, said) in zip(lines, answers, strict=True):
        told = said.splitlines()[-1]
        assert ended == 2, (line, said)
        assert re.search(r" needs (\w+), which is not installed; in a clone of flux1: pip", told), (
            line, said,
        )  # fmt: skip
        assert told.split(" needs ")[1].split(",")[0] in ABSENT, line


def test_its_requirements_are_some_of_the_packages_own():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = {*project["dependencies"], *project["optional-dependencies"]["onnx"]}
    lines = (ROOT / "requirements-onnx.txt").read_text().splitlines()
    wanted = {line for line in lines if not line.startswith("#")}
    assert wanted <= known
    names = {re.split("[>=]", line)[0] for line in wanted}
    assert names.isdisjoint({*ABSENT, *(name.replace("_", "-") for name in ABSENT)})
