"""`flux1 models`: what can be drawn with, and what of it is here."""

import json
from typing import Annotated

import typer

from flux1.variants import VARIANTS, Variant


def models(
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print a JSON list; counts parameters on the meta device."),
    ] = False,
) -> None:
    """List the models, their licences, and whether their weights are on this machine."""
    if as_json:
        typer.echo(json.dumps([_facts(variant) for variant in VARIANTS]))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("model", "short", "what it is", "weights", "licence"):
        table.add_column(heading)
    for variant in VARIANTS:
        licence = variant.licence.name
        table.add_row(
            Text(variant.id, "bold"),
            Text(variant.aliases[0] if variant.aliases else ""),
            Text(variant.title),
            Text(_where(variant)),
            Text(licence, "" if variant.licence.commercial_use else "yellow"),
        )
    Console().print(table)


def _where(variant: Variant) -> str:
    from flux1.errors import MissingWeightsError, WeightsError
    from flux1.settings import Settings, read
    from flux1.weights.sources import locate

    try:
        source = locate(variant, read(Settings).models)
    except MissingWeightsError:
        return "missing"
    except WeightsError as damage:
        return f"damaged: {damage}"
    return variant.weights if variant.weights != "local" else str(source.root)


def _facts(variant: Variant) -> dict[str, object]:
    from flux1.model.transformer import Transformer
    from flux1.weights.build import count

    parameters, tensors = count(Transformer, variant.transformer)
    return {
        "id": variant.id,
        "aliases": list(variant.aliases),
        "title": variant.title,
        "parameters": parameters,
        "tensors": tensors,
        "weights": _where(variant),
        "licence": {
            "name": variant.licence.name,
            "url": variant.licence.url,
            "commercial_use": variant.licence.commercial_use,
        },
        "repository": variant.repository,
    }
