"""`flux1 info FILE`: the recipe inside a picture."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flux1.errors import printable
from flux1.knobs import KNOBS

if TYPE_CHECKING:
    from flux1.safety.provenance import Recipe


def info(
    file: Annotated[Path, typer.Argument(help="A picture that flux1 wrote.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the recipe as JSON.")] = False,
) -> None:
    """Print how a picture was made, and the command that draws it again."""
    from flux1.safety.provenance import read_recipe

    recipe = read_recipe(file)
    if as_json:
        typer.echo(json.dumps(asdict(recipe)))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None)
    for name, value in asdict(recipe).items():
        if name == "loras":
            value = ", ".join(
                f"{use.name}:{use.scale:g} (sha256 {use.sha256})" for use in recipe.loras
            )
        if value not in (None, ""):
            table.add_row(Text(name, "bold"), Text(printable(str(value)), overflow="fold"))
    Console().print(table)
    typer.echo(f"\nagain: {printable(command(recipe))}")


def command(recipe: "Recipe") -> str:
    """The `flux1 generate` line that draws the picture of a recipe. The dtype of graphs is their
    own, and they are found in FLUX1_MODELS."""
    words = ["flux1", "generate", "--model", recipe.model]
    if recipe.runtime != "torch":
        words += ["--runtime", recipe.runtime]
    words += ["--size", f"{recipe.width}x{recipe.height}"]
    fields = asdict(recipe)
    own = ["seed", "like", *(["dtype"] if recipe.runtime == "torch" else [])]
    plain = {"negative_prompt": "", "upscale": 1}
    for name in [*(knob.name for knob in KNOBS), *own]:
        if fields[name] not in (None, plain.get(name)):
            words += [f"--{name.replace('_', '-')}", str(fields[name])]
    for use in recipe.loras:
        words += ["--lora", f"{use.name}:{use.scale!r}"]
    return shlex.join([*words, *(["--"] if recipe.prompt.startswith("-") else []), recipe.prompt])
