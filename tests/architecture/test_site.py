"""The documentation's site: every page, link and docstring that it names is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert 'id="flux1.FluxPipeline.from_pretrained"' in (
        tmp_path / "reference" / "python.html"
    ).read_text(encoding="utf-8")
    assert (tmp_path / "benchmarks" / "index.html").is_file()
