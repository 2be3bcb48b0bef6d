"""`flux1 info FILE`: the recipe inside a picture."""

import json
from pathlib import Path
from typing import Annotated

import typer


def info(
    file: Annotated[Path, typer.Argument(help="A picture that flux1 wrote.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the recipe as JSON.")] = False,
) -> None:
    """Print how a picture was made, and the command that draws it again."""
    from flux1.safety.provenance import read_recipe

    recipe = read_recipe(file)
    if as_json:
        typer.echo(json.dumps(recipe, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name, value in recipe.items():
        if value not in (None, ""):
            table.add_row(f"[bold]{name}[/]", str(value))
    Console().print(table)
    typer.echo(f"\nagain: {command(recipe)}")


def command(recipe: dict[str, object]) -> str:
    """The `flux1 generate` line that draws the picture of a recipe."""
    import shlex

    words = ["flux1", "generate", str(recipe["prompt"]), "--model", str(recipe["model"])]
    words += ["--size", f"{recipe['width']}x{recipe['height']}"]
    for name in ("steps", "guidance", "true_cfg", "solver", "seed", "negative_prompt", "dtype"):
        if recipe.get(name) not in (None, ""):
            words += [f"--{name.replace('_', '-')}", str(recipe[name])]
    return shlex.join(words)
