"""Documents tell the truth: their Python runs, their commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def blocks(language):
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(page, code) for page in PAGES for code in fence.findall(page.read_text())]


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_examples_run(page, code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("*.png"))


def test_every_command_in_a_shell_example_exists():
    known = {"generate", "info", "models", "train", "--help", "--install-completion"}
    named = {word for _, code in blocks("bash") for word in re.findall(r"^flux1 (\S+)", code, re.M)}
    assert named
    assert named <= known
