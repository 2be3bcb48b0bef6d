"""Where torch cannot be imported, the same picture is drawn."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from PIL import Image

from flux1 import make_request
from flux1.export.parity import levels_apart
from graphs import by_torch, exported

ROOT = Path(__file__).parents[2]
ABSENT = (
    "accelerate", "diffusers", "gguf", "huggingface_hub", "onnx", "peft", "safetensors", "torch",
    "transformers",
)  # fmt: skip
COMMAND = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from flux1.cli.main import main
main()
"""


def test_the_command_draws_torchs_picture(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "generate", "a red fox", "--runtime", "onnx",
         "--model", exported("flux-mini"), "--seed", "3", "--steps", "4", "-o", tmp_path / "x.png"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    torch = by_torch("flux-mini")
    request = make_request(torch.variant, "a red fox", seed=3, steps=4)
    (wanted,) = torch.draw(request).images
    assert levels_apart(Image.open(tmp_path / "x.png"), wanted).max() <= 1


def test_its_requirements_are_some_of_the_packages_own():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = {*project["dependencies"], *project["optional-dependencies"]["onnx"]}
    lines = (ROOT / "requirements-onnx.txt").read_text().splitlines()
    wanted = {line for line in lines if not line.startswith("#")}
    assert wanted <= known
    names = {re.split("[>=]", line)[0] for line in wanted}
    assert names.isdisjoint({*ABSENT, *(name.replace("_", "-") for name in ABSENT)})
