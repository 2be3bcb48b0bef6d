"""The notebook's cells run from top to bottom; what it shows is not kept in the file."""

import ast
import json
from pathlib import Path

import pytest
from PIL import Image

from flux1 import FluxPipeline

NOTEBOOK = json.loads(
    (Path(__file__).parents[2] / "examples" / "first_pictures.ipynb").read_text(encoding="utf-8")
)
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_it_is_a_notebook_without_outputs():
    assert NOTEBOOK["nbformat"] == 4
    assert {cell["cell_type"] for cell in NOTEBOOK["cells"]} == {"markdown", "code"}
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)


def shown(source, names):
    """Run a cell as a notebook does; its last line's value, if it is one."""
    *body, last = ast.parse(source).body
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.mark.slow
def test_its_cells_run_and_show_pictures():
    """With flux-mini, as written."""
    names = {}
    title, *pictures = [shown("".join(cell["source"]), names) for cell in CODE]
    assert title == FluxPipeline.from_pretrained("flux-mini").variant.title
    assert len(pictures) > 3
    for picture in pictures:
        assert isinstance(picture, Image.Image)
        assert len(picture.getcolors(2**20)) > 100
