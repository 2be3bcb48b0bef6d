"""Blocks of houses as a skyline sees them: roofs, lit and shaded sides, windows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from flux1.training.mini.world.places.colours import Rgb, choose, mix, rgb
from flux1.training.mini.world.places.sketch import Sketch

Picture = Float[np.ndarray, "h w 3"]
LAMPS = ("#ffd890", "#ffc060", "#fff0c4", "#ffb450", "#a8e4ff")


@dataclass(frozen=True)
class Tower:
    """A block from column `left` to column `right` of the picture, its roof at line `top`."""

    left: int
    right: int
    top: int
    colour: Rgb
    roof: str = "flat"


def skyline_rise(sketch: Sketch) -> Callable[[float], float]:
    """Return how high towers are along the picture: alike, a canyon around the light, or a
    summit."""
    at = min(max(sketch.air.sun_x, 0.3), 0.7)
    return choose(
        sketch.rng,
        (
            lambda x: 1.0,
            lambda x: min(0.5 + 1.7 * abs(x - at), 1.35),
            lambda x: 1.35 - 1.1 * abs(x - 1 + at),
        ),
    )


def skyline(
    sketch: Sketch,
    foot: float,
    high: float,
    wide: float,
    colours: Sequence[Rgb],
    rise: Callable[[float], float],
) -> list[Tower]:
    """A row of towers over the whole width: up to about so high above the foot (in heights of
    the picture, times `rise`), about so wide (in shorter sides), with gaps here and there."""
    canvas, at, row = sketch.canvas, round(-sketch.between(0, 0.1) * sketch.canvas.unit), []
    while at < canvas.width:
        right = at + max(8, round(wide * canvas.unit * sketch.between(0.65, 1.4)))
        size = (0.3 + 0.7 * sketch.between(0, 1) ** 1.4) * high
        top = round((foot - size * rise((at + right) / 2 / canvas.width)) * canvas.height)
        row.append(Tower(at, right, top, choose(sketch.rng, colours), choose(sketch.rng, _FORMS)))
        at = right + (sketch.several(2, 8) if sketch.chance(0.35) else 0)
    return row


def paint_towers(sketch: Sketch, row: Sequence[Tower], distance: float, foot: float) -> None:
    """Fill the towers; each is darker on the side away from the light, and fades at its foot."""
    canvas, air = sketch.canvas, sketch.air
    line = np.full(canvas.width, 2.0, np.float32)
    colour = np.zeros((canvas.width, 3), np.float32)
    for tower in row:
        columns = slice(max(tower.left, 0), max(tower.right, 0))
        across = (np.arange(canvas.width)[columns] + 0.5 - tower.left) / (tower.right - tower.left)
        wide = (tower.right - tower.left) / canvas.height
        line[columns] = tower.top / canvas.height - wide * _ROOFS[tower.roof](across)
        away = across if air.sun_x * canvas.width < tower.left else 1 - across
        colour[columns] = tower.colour * np.where(away > 0.68, 0.84, 1.0)[:, None]
    mask = np.clip((canvas.y[:, None] - line[None]) * canvas.height + 0.5, 0, 1)
    near, low = air.lit(colour, distance), air.lit(colour, min(1.0, 1.35 * distance + 0.12))
    ramp = np.clip((canvas.y - foot + 0.4) / 0.4, 0, 1)[:, None, None]
    canvas.fill(mask.astype(np.float32), (near + (low - near) * ramp).astype(np.float32))


_FORMS = ("flat", "flat", "step", "spire", "slant", "dome", "mast")


def _mast(across: np.ndarray) -> np.ndarray:
    return np.where(np.abs(across - 0.5) < 0.05, 0.7, 0.0)


_ROOFS = {
    "flat": lambda across: np.zeros_like(across),
    "step": lambda across: np.where(np.abs(across - 0.5) < 0.28, 0.28, 0.0),
    "spire": lambda across: np.clip(1 - 2 * np.abs(across - 0.5), 0, 1) * 0.9,
    "slant": lambda across: across * 0.5,
    "dome": lambda across: np.sqrt(np.clip(0.25 - (across - 0.5) ** 2, 0, 1)) * 0.9,
    "mast": _mast,
}


def paint_windows(
    sketch: Sketch, row: Sequence[Tower], foot: float, distance: float, light: Picture
) -> None:
    """Windows in their grids. In the dark a part of them is lit, and shines into `light` too; by
    day all are panes of glass that mirror the sky."""
    canvas, air = sketch.canvas, sketch.air
    near = 0.04 - 0.025 * distance  # in shorter sides
    step_x, step_y = (
        max(5, round(0.82 * near * canvas.unit)),
        max(7, round(near * 1.1 * canvas.unit)),
    )
    pane_x, pane_y = step_x // 2 + 1, step_y // 2 + 1
    last = round(foot * canvas.height)
    for tower in row:
        share, lamps = sketch.between(0.3, 0.8), [rgb(choose(sketch.rng, LAMPS)) for _ in range(2)]
        pane = air.lit(mix(tower.colour * 0.6, air.sky[0] * air.tint, 0.3), distance)
        count = (tower.right - tower.left - 4) // step_x
        start = tower.left + (tower.right - tower.left - count * step_x + step_x - pane_x) // 2
        for y in range(tower.top + 5, last - pane_y, step_y):
            for x in range(start, start + count * step_x, step_x):
                part = slice(y, y + pane_y), slice(max(x, 0), max(x + pane_x, 0))
                if not _glows(sketch, share):
                    canvas.pixels[part] = pane
                    continue
                lamp = mix(lamps[int(sketch.chance(0.3))], air.haze, 0.6 * distance)
                canvas.pixels[part] = light[part] = lamp


def _glows(sketch: Sketch, share: float) -> bool:
    low = sketch.air.light.body == "low sun"
    return (sketch.air.dark or low) and sketch.chance(share * (0.5 if low else 1))
