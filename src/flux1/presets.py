"""Presets, which draw as other programs do with the same weights: their choices, one frozen row
each.

Code asks a row's fields, never its name. A row says what its program does outside of the networks:
how numbers are rounded on the way, where the noise comes from, when the network is asked, how much
text it reads. Everything else (sizes, steps, guidance) is the request's to say.
"""

from dataclasses import dataclass
from typing import Literal

from flux1.errors import RequestError, nearest

Number = Literal["model", "float32", "bfloat16"]
"""A number format: the one that the networks compute in, or this one whatever that is."""

Times = Literal["exact", "linspace", "float32", "table"]
"""The rule for the times of the steps; flow/schedule.py has one function for each."""


@dataclass(frozen=True)
class Preset:
    """One program's choices. The defaults are flux1's own."""

    id: str
    latents: Number = "float32"  # the noise is drawn in it, and kept in it from step to step
    time: Number = "model"  # the network is told t in it
    guidance: Number = "model"
    time_in_thousandths: bool = False  # 1000 t is rounded, then divided by 1000 again
    positions: Number = "float32"  # of image tokens; bfloat16 merges some above 256 (4096 pixels)
    times: Times = "exact"
    shift: float | None = None  # one mu for all sizes; None: each size its own
    text_at_least: int | None = None  # T5's text is padded to this, never cut; None: the model's
    rounds_steps: bool = False  # a step's length is rounded to the latents' format too
    pixels: Number = "float32"  # [-1, 1] becomes [0, 1] in it
    cuts_levels: bool = False  # 8-bit levels are cut off, not rounded
    solvers: tuple[str, ...] | None = None  # with which the program is matched; None: any


OWN = Preset("flux1")
BFL = Preset(
    "bfl",
    latents="bfloat16",
    time="bfloat16",
    guidance="bfloat16",
    times="linspace",
    cuts_levels=True,
    solvers=("euler",),
)
DIFFUSERS = Preset(
    "diffusers",
    latents="model",
    time_in_thousandths=True,
    positions="model",
    times="float32",
    rounds_steps=True,
    pixels="model",
    solvers=("euler",),
)
COMFYUI = Preset(
    "comfyui",
    time="float32",
    positions="model",
    times="table",
    shift=1.15,
    text_at_least=256,
    cuts_levels=True,
    solvers=("euler",),
)
PRESETS: tuple[Preset, ...] = (BFL, DIFFUSERS, COMFYUI)


def find(like: str | None) -> Preset:
    """The row of this name; flux1's own for None. RequestError names the nearest one."""
    if like is None:
        return OWN
    rows = {row.id: row for row in PRESETS}
    if not isinstance(like, str) or like not in rows:
        known = ", ".join(rows)
        raise RequestError("like", f"{like!r} is not one of {known}{nearest(like, rows)}")
    return rows[like]
