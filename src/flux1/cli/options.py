"""Options that several commands share, and how they are read."""

import inspect
from collections.abc import Callable
from functools import wraps
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


def with_knobs(after: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command that takes its `**knobs` as options, one for each row of `knobs.KNOBS`; they are
    listed after the parameter of that name."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        place = [one.name for one in own].index(after) + 1
        knobs = [
            inspect.Parameter(
                knob.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(knob)
            )
            for knob in KNOBS
        ]
        taken = [one.replace(kind=one.KEYWORD_ONLY) for one in own]
        taken[place:place] = knobs

        @wraps(command)
        def called(**given: Any) -> None:
            command(**given)

        called.__dict__["__signature__"] = signature.replace(parameters=taken)
        called.__annotations__ = {one.name: one.annotation for one in taken}
        return called

    return decorate


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
        help=knob.about, autocompletion=complete if knob.choices else None,
        show_default="the model's",
    )  # fmt: skip
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
