"""`flux1 words`: what a model learnt to draw, by name."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flux1.errors import MissingWeightsError, printable
from flux1.variants import DEFAULT, Variant
from flux1.words import SECTIONS, Vocabulary


def words(
    model: Annotated[
        str, typer.Argument(help="Model name (see `flux1 models`), or a folder of weights.")
    ] = DEFAULT.id,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object, with other names and other words."),
    ] = False,
) -> None:
    """List the things, places, lights, styles and colours that MODEL learnt."""
    variant = _row(model)
    if variant.words is None:
        raise MissingWeightsError(
            f"{variant.id}: no list of words lies with its weights; only pictures tell"
        )
    if as_json:
        typer.echo(json.dumps({"model": variant.id, **asdict(variant.words)}))
    else:
        _show(variant.words)


def _row(model: str) -> Variant:
    from flux1.runtime.folder import is_folder, read_folder

    if is_folder(Path(model)):
        return read_folder(Path(model)).variant
    from flux1.settings import Settings, read
    from flux1.weights.sources import locate

    return locate(model, read(Settings).models).variant


def _show(vocabulary: Vocabulary) -> None:
    from rich.columns import Columns
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for section in SECTIONS:
        entries = getattr(vocabulary, section)
        if entries:
            console.print(Text(f"{section} ({len(entries)})", "bold"))
            names = [Text(printable(entry[0])) for entry in entries]
            console.print(Columns(names, padding=(0, 2), column_first=True), "")
    more = sum(len(entry) - 1 for section in SECTIONS for entry in getattr(vocabulary, section))
    console.print(f"{more} other names of these are understood, too: --json", highlight=False)
