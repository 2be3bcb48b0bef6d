"""docs/how-to/extend.md: each diff fits the source, and what it adds works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "extend.md").read_text()
RECIPES = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def fenced(language, text):
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return code


def hunks(diff):
    """(old path, new path, lines before, lines after) of each hunk; hunks begin with `@@`."""
    for file in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        (old, new), *bodies = (
            part.strip("\n").splitlines() for part in re.split("^@@$", file, flags=re.M)
        )
        for body in bodies:
            before = [line[1:] for line in body if not line.startswith("+")]
            after = [line[1:] for line in body if not line.startswith("-")]
            yield old, new.removeprefix("+++ b/"), before, after


def apply(diff, root):
    """Change the files below `root`. What a hunk replaces has to be there exactly once."""
    for old, path, before, after in hunks(diff):
        file = root / path
        if old == "/dev/null":
            assert not file.exists()
            file.write_text("\n".join(after) + "\n")
            continue
        text, wanted = file.read_text(), "\n".join(before) + "\n"
        assert text.count(wanted) == 1, f"{path} does not hold once:\n{wanted}"
        file.write_text(text.replace(wanted, "\n".join(after) + "\n"))


@pytest.fixture
def copy(tmp_path):
    """The source and the reference of the API, to be changed; the weights are linked."""
    package, made = ROOT / "src" / "flux1", tmp_path / "src" / "flux1"
    shutil.copytree(package, made, ignore=shutil.ignore_patterns("shipped", "__pycache__"))
    (made / "shipped").symlink_to(package / "shipped")
    shutil.copytree(ROOT / "docs" / "reference", tmp_path / "docs" / "reference")
    return tmp_path


def test_there_are_the_four():
    assert list(RECIPES) == ["A solver", "A model", "A number format", "An endpoint"]


@pytest.mark.parametrize("title", RECIPES)
def test_the_diff_fits_and_is_in_the_projects_style(title, copy):
    apply(fenced("diff", RECIPES[title]), copy)
    changed = {copy / path for _, path, *_ in hunks(fenced("diff", RECIPES[title]))}
    python = [str(path) for path in changed if path.suffix == ".py"]
    for check in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *check, "--config", str(ROOT / "pyproject.toml")]
        done = subprocess.run([*ruff, *python], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES)
def test_what_it_adds_works(title, copy):
    apply(fenced("diff", RECIPES[title]), copy)
    paths = os.pathsep.join((str(copy / "src"), str(ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, "-c", fenced("py", RECIPES[title])],
        cwd=copy, env={**os.environ, "PYTHONPATH": paths},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
