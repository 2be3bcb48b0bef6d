"""`flux1 train RECIPE`: make weights from nothing."""

from pathlib import Path
from typing import Annotated

import typer

from flux1.cli.options import Device
from flux1.errors import DependencyError


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe's name, or a .toml file of your own.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder of the run.", show_default="runs/RECIPE"),
    ] = None,
    device: Device = None,
    list_recipes: Annotated[bool, typer.Option("--list", help="List the recipes.")] = False,
) -> None:
    """Run RECIPE: fetch the data, train, and write a folder that `flux1 generate -m` draws with.

    Interrupt it at will: the same command goes on from the last checkpoint.
    """
    try:
        from flux1.training.recipes import make, read_recipe, recipe_names
    except ModuleNotFoundError as missing:
        raise DependencyError(
            f"training needs {missing.name}: install it with `pip install 'flux1[train]'`"
        ) from missing
    if list_recipes or recipe is None:
        for name in recipe_names():
            typer.echo(name)
        return
    from flux1.cli.console import say, stderr
    from flux1.pipeline.load import choose_device
    from flux1.settings import Settings, read

    chosen = read_recipe(recipe)
    place = choose_device(device or read(Settings).device)
    finished = make(chosen, out or Path("runs") / chosen.name, stderr(), place)
    say(f'done: flux1 generate "a red fox" --model {finished}')
