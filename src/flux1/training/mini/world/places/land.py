"""Land in layers: hills and ridges that fade with distance, and what grows on them."""

from collections.abc import Sequence

import numpy as np

from flux1.training.mini.world.places.canvas import Line, Pen
from flux1.training.mini.world.places.colours import Rgb, mix
from flux1.training.mini.world.places.lines import jagged, rolling
from flux1.training.mini.world.places.sketch import Sketch


def layer(sketch: Sketch, line: Line, colour: Rgb, distance: float) -> None:
    """Fill the land below a line; towards its foot it fades a little further into the haze."""
    canvas, air = sketch.canvas, sketch.air
    top = float(line.min())
    foot = air.lit(colour, min(1.0, distance + 0.3 * distance + 0.05))
    rows = canvas.rows((air.lit(colour, distance), foot), top, min(1.0, top + 0.35))
    canvas.fill(canvas.below(line), rows)


def meadow(sketch: Sketch, line: Line, far: Rgb, near: Rgb, distance: float = 0.1) -> None:
    """Ground that comes towards the viewer: from the far colour to the near one."""
    canvas, air = sketch.canvas, sketch.air
    rows = canvas.rows((air.lit(far, distance), air.lit(near)), float(line.min()), 1.0)
    canvas.fill(canvas.below(line), rows)


def hill_line(sketch: Sketch, height: float, reach: float, bumps: float = 0.8) -> Line:
    """Rolling line around a height, both in fractions of the picture's height."""
    canvas = sketch.canvas
    return height - reach * rolling(sketch.rng, canvas.x * np.float32(canvas.wide), bumps, 2)


def ridge_line(sketch: Sketch, foot: float, reach: float, peaks: int, rough: float = 0.5) -> Line:
    """Jagged line whose peaks reach so far above the foot."""
    return foot - reach * jagged(sketch.rng, sketch.canvas.x, peaks, rough)


def conifer(pen: Pen, x: float, y: float, size: float, tiers: int = 3) -> None:
    """A fir of stacked triangles standing at a point; `size` is its height in shorter sides."""
    pen.polygon(
        x,
        y,
        [
            (-0.04 * size, 0),
            (0.04 * size, 0),
            (0.03 * size, -0.3 * size),
            (-0.03 * size, -0.3 * size),
        ],
    )
    for i in range(tiers):
        low, high = 0.06 + 0.64 * i / tiers, 0.46 + 0.54 * (i + 1) / tiers
        wide = 0.3 * size * (1 - 0.72 * i / tiers)
        pen.polygon(x, y, [(-wide, -low * size), (wide, -low * size), (0, -min(high, 1) * size)])


def round_tree(pen: Pen, x: float, y: float, size: float, crown: Sequence[float]) -> None:
    """The crown of a broad tree: a heap of discs; `crown` are five numbers in 0..1."""
    unit_x = 1 / pen.wide
    for i, grown in enumerate(crown):
        turn = 2 * np.pi * i / len(crown)
        dx, dy = 0.17 * size * np.cos(turn), -0.64 * size + 0.15 * size * np.sin(turn)
        pen.ellipse(
            x + dx * unit_x,
            y + dy / pen.tall,
            (0.17 + 0.06 * grown) * size,
            (0.17 + 0.06 * grown) * size,
        )


def shaded(colour: Rgb, shade: float) -> Rgb:
    """The colour's shadow side, a little bluer."""
    return mix(colour, colour * np.array([0.45, 0.5, 0.68], np.float32), shade)
