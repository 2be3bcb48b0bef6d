"""Options that several commands share, and how they are read."""

from typing import Annotated

import typer

from flux1.request import LoraUse

Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1, mps.", show_default="CUDA if present, else cpu"),
]
Dtype = Annotated[
    str | None,
    typer.Option(help="float32 or bfloat16.", show_default="bfloat16 on CUDA, else float32"),
]


def parse_lora(use: str) -> LoraUse:
    """FILE, or FILE:SCALE."""
    name, _, scale = use.rpartition(":")
    try:
        return LoraUse(name, float(scale)) if name else LoraUse(use)
    except ValueError:  # a colon of the file's name
        return LoraUse(use)
