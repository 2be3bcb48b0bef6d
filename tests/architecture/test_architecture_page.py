"""The architecture page, its picture and the lists of pages say what is there."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "flux1"
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text()


def test_its_tree_is_the_tree():
    named = set(re.findall(r"^([\w.]+)(?:/|\.py) ", PAGE, re.MULTILINE))
    there = {p.stem for p in SOURCE.iterdir() if p.is_dir() or p.suffix == ".py"} - {
        "__init__",
        "__main__",
        "__pycache__",
    }
    assert named == there


def test_every_file_that_it_names_is_there():
    named = set(re.findall(r"`(\w+/[\w/]+\.py|\w+\.py)`", PAGE))
    assert len(named) > 15
    outside = {name for name in named if name.startswith("examples/")}
    assert [n for n in named - outside if not (SOURCE / n).is_file()] == []
    assert [n for n in outside if not (ROOT / n).is_file()] == []


def test_its_picture_is_what_the_script_draws_of_files_that_are_there():
    script = runpy.run_path(str(ROOT / "scripts" / "draw_architecture.py"))
    assert script["PICTURE"].read_text(encoding="utf-8") == script["picture"]()
    assert [file for _, file, *_ in script["THINGS"] if not (SOURCE / file).is_file()] == []


def test_every_decision_stands_in_the_index_under_its_title():
    folder = ROOT / "docs" / "decisions"
    index = (folder / "index.md").read_text()
    pages = sorted(folder.glob("0*.md"))
    titles = [page.read_text().splitlines()[0].removeprefix("# ") for page in pages]
    wanted = [
        t.replace(". ", ". [", 1) + f"]({p.name})" for t, p in zip(titles, pages, strict=True)
    ]
    assert [line for line in index.splitlines() if line[:1].isdigit()] == wanted


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()
    prose = re.sub(r"```.*?```|\]\([^)]*\)", "", text, flags=re.DOTALL)
    assert len(re.findall(r"[\w'-]+", prose)) <= 500
