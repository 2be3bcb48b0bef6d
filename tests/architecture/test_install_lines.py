"""Every line that installs something works in a clone: the package is on no index."""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("*/**/*.md"),
    ROOT / "Dockerfile",
    *ROOT.glob("*/**/*.ipynb"),
]
TEXTS = {path: path.read_text() for path in [*SOURCES, *PAGES] if path.is_file()}


def test_nothing_is_installed_by_the_packages_bare_name():
    by_name = re.compile(r"flux1\[|pip install[^\n&]* '?flux1\b")
    assert [path for path, text in TEXTS.items() if by_name.search(text)] == []


def test_every_extra_in_an_install_line_exists():
    named = [
        (path, name)
        for path, text in TEXTS.items()
        for extras in re.findall(r"'\.\[([\w,]+)\]'|\"\.\[([\w,]+)\]\"", text)
        for name in "".join(extras).split(",")
    ]
    assert len(named) > 10
    assert [one for one in named if one[1] not in EXTRAS] == []


def test_every_refusal_for_a_missing_library_names_an_extra_that_exists():
    extras = [
        call.args[2].value
        for path in SOURCES
        for call in ast.walk(ast.parse(TEXTS[path]))
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", None) == "DependencyError"
        and isinstance(call.args[2], ast.Constant)
    ]
    assert len(extras) > 5
    assert set(extras) <= {*EXTRAS, None}  # None: what the package itself needs
