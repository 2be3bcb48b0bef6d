"""The documents show each picture that scripts/screenshots.py takes, and it takes each."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TAKEN = {path.name for path in (ROOT / "docs" / "images").glob("dashboard-*.png")}


def test_every_picture_of_the_dashboard_is_shown():
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    shown = {
        name for page in pages for name in re.findall(r"dashboard-[\w-]+\.png", page.read_text())
    }
    assert shown == TAKEN


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium is installed")
def test_the_script_takes_them(tmp_path):
    """Of a model with random weights, whose noise is not to be classified."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "screenshots.py", "--model", "tiny", tmp_path],
        env={**os.environ, "FLUX1_PICTURE_CLASSIFIER": "none"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == TAKEN
