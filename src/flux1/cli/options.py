"""Options that several commands share, and how they are read."""

from typing import Annotated, Any

import typer

from flux1.errors import RequestError
from flux1.knobs import KNOBS, Knob
from flux1.request import LoraUse

Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1, mps.", show_default="CUDA if present, else cpu"),
]
Dtype = Annotated[
    str | None,
    typer.Option(help="float32 or bfloat16.", show_default="bfloat16 on CUDA, else float32"),
]

Overwrite = Annotated[
    bool, typer.Option("--overwrite", "--force", help="Write over what is there.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object about the result on stdout.")
]


def knob_options() -> dict[str, Any]:
    """An option for each row of `knobs.KNOBS`, by its name."""
    return {knob.name: _option(knob) for knob in KNOBS}


def _option(knob: Knob) -> Any:
    types = {
        "whole": int,
        "number": float,
        "text": str,
        "choice": type(next(iter(knob.choices), "")),
    }

    def complete(incomplete: str) -> list[str]:
        return [str(one) for one in knob.choices if str(one).startswith(incomplete)]

    option = typer.Option(
        help=knob.about,
        autocompletion=complete if knob.choices else None,
        show_default="the model's",
    )
    return Annotated[types[knob.kind] | None, option]


def parse_lora(use: str) -> LoraUse:
    """FILE, or FILE:SCALE."""
    name, _, scale = use.rpartition(":")
    try:
        return LoraUse(name, float(scale)) if name else LoraUse(use)
    except ValueError:  # a colon of the file's name
        return LoraUse(use)


def parse_size(size: str | None) -> tuple[int | None, int | None]:
    """WIDTHxHEIGHT; nothing for nothing."""
    if size is None:
        return None, None
    width, cross, height = size.lower().partition("x")
    digits = cross and width.isdecimal() and height.isdecimal()
    if not digits or max(len(width), len(height)) > 9:
        raise RequestError("size", f"{size!r} is not WIDTHxHEIGHT; for example 1024x768")
    return int(width), int(height)
