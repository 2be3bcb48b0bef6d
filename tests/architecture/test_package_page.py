"""What a package index shows: a README without links that lead nowhere, versions that agree."""

import email
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import flux1

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_s_description_has_no_relative_link(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path), "."]
    subprocess.run(build, cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    description = metadata.get_payload()
    assert "flux1 serve --demo" in description
    assert re.findall(r"\]\((?!https?://)[^)]*\)", description) == []
    paths = re.findall(r" \(`([\w./-]+)`\)", description)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == flux1.__version__
    assert f'version = "{flux1.__version__}"' in (ROOT / "pyproject.toml").read_text()
