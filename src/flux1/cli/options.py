"""Options that several commands share."""

from typing import Annotated

import typer

Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1, mps.", show_default="CUDA if present, else cpu"),
]
Dtype = Annotated[
    str | None,
    typer.Option(help="float32 or bfloat16.", show_default="bfloat16 on CUDA, else float32"),
]
