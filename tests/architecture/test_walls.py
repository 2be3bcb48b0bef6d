"""The house keeps its shape: walls, names, what importing costs, what documents promise."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import flux1

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "flux1"


def test_imports_only_point_down():
    # in a process of its own: import-linter turns off the loggers that it finds
    check = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", ["safetensors", "huggingface_hub"])
def test_only_weights_imports_weight_file_libraries(module):
    pattern = re.compile(rf"^\s*(from|import) {module}\b", re.MULTILINE)
    users = {
        path.relative_to(SOURCE).parts[0]
        for path in SOURCE.rglob("*.py")
        if pattern.search(path.read_text())
    }
    assert users <= {"weights"}


def test_only_settings_reads_the_environment():
    pattern = re.compile(r"\bos\.(environ|getenv)\b")
    assert [p for p in SOURCE.rglob("*.py") if pattern.search(p.read_text())] == []


def test_no_file_has_a_name_that_says_nothing():
    empty = {"utils", "common", "helpers", "misc", "base", "core", "manager"}
    assert [p for p in SOURCE.rglob("*.py") if p.stem in empty] == []


def test_nobody_asks_a_variant_for_its_name():
    pattern = re.compile(r"\.id\s*[=!]=\s*[\"']|[\"']\s*[=!]=\s*\w+\.id\b")
    assert [p for p in SOURCE.rglob("*.py") if pattern.search(p.read_text())] == []


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, flux1; heavy = {'torch', 'transformers', 'numpy', 'PIL', 'pydantic'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_loads():
    for name in flux1.__all__:
        assert getattr(flux1, name) is not None


def test_the_readme_tree_is_the_tree():
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"^(\w+)/ ", text, re.MULTILINE))
    there = {p.name for p in SOURCE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert named == there


def test_links_between_documents_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} -> {target}"
