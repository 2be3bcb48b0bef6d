"""Deserts: dunes, or mesas with cactuses."""

import numpy as np

from flux1.training.mini.world.places.colours import Rgb, mix, palette, rgb
from flux1.training.mini.world.places.land import (
    hill_line,
    layer,
    meadow,
    shaded,
)
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch
from flux1.training.mini.world.places.sky import paint_sky

# Far mesas, middle, dune in the light, dune in the shade.
_DESERTS = (
    ("#c88c74", "#b8684c", "#ecc07c", "#d49a58"),
    ("#d4a088", "#c0784c", "#f4d090", "#dcaa64"),
    ("#b88494", "#a85c54", "#e8b080", "#c4845c"),
    ("#d8b494", "#cc945c", "#f7dca4", "#e4b878"),
)


def paint_desert(sketch: Sketch) -> tuple[Ground, ...]:
    """Dunes with sharp crests, or mesas and cactuses."""
    far, middle, light, shade = palette(sketch.rng, _DESERTS)
    horizon = sketch.between(0.48, 0.6)
    paint_sky(sketch, horizon, clouds=sketch.chance(0.3))
    if sketch.chance(0.5):
        _mesas(sketch, horizon, far, 0.36)
        _mesas(sketch, horizon + 0.03, middle, 0.22)
        front = horizon + 0.06
        meadow(sketch, hill_line(sketch, front, 0.02, 0.7), light, shade)
        _cactuses(sketch, front)
    else:
        front = horizon + 0.16
        for i in range(3):
            _dune(sketch, horizon + 0.08 * i, light, shade, 0.4 - 0.2 * i)
    return Ground(front + 0.08, 0.97, "ground"), Ground(0.06, horizon - 0.1, "sky")


def _mesas(sketch: Sketch, foot: float, colour: Rgb, distance: float) -> None:
    """Flat-topped rocks with steep sides."""
    pen = sketch.canvas.pen()
    for _ in range(sketch.several(1, 3)):
        half, size = sketch.between(0.08, 0.18), sketch.between(0.1, 0.26)
        slope, step = 0.3 * half, 0.45 * size
        corners = [
            (-half - slope, 0.02),
            (-half, -step),
            (-0.8 * half, -step),
            (-0.72 * half, -size),
        ]
        pen.polygon(sketch.between(0, 1), foot, corners + [(-x, y) for x, y in corners[::-1]])
    canvas, air = sketch.canvas, sketch.air
    rows = canvas.rows(
        (air.lit(colour, distance), air.lit(mix(colour, rgb("#f0c890"), 0.4), distance + 0.1)),
        foot - 0.25,
        foot,
    )
    canvas.fill(pen.mask(), rows)
    layer(sketch, hill_line(sketch, foot, 0.008, 1.5), mix(colour, rgb("#f0c890"), 0.5), distance)


def _dune(sketch: Sketch, height: float, light: Rgb, shade: Rgb, distance: float) -> None:
    """A dune: its lit side below a smooth crest, and a shadow that falls from the summit."""
    canvas, air = sketch.canvas, sketch.air
    distance = max(distance, 0.0)
    top, half = sketch.between(0.15, 0.85), sketch.between(0.3, 0.5)
    away = (canvas.x - np.float32(top)) / half
    line = height + 0.05 - 0.13 * np.exp(-(away**2)) - 0.012 * np.sin(canvas.x * 5 + top)
    meadow(sketch, line.astype(np.float32), light, mix(light, shade, 0.6), distance)
    down = canvas.y[:, None] - line[None].min()
    crest = top + (0.5 * down + 0.06 * np.sin(down * 14)) * (1 if air.sun_x < top else -1)
    side = (canvas.x[None] - crest) * (1 if air.sun_x < top else -1)
    mask = np.clip(side * canvas.width + 0.5, 0, 1) * canvas.below(line.astype(np.float32))
    fade = np.clip(1 - down / 0.4, 0, 1)
    canvas.fill((mask * fade).astype(np.float32), air.lit(shaded(shade, 0.25), distance), 0.75)


def _cactuses(sketch: Sketch, front: float) -> None:
    pen = sketch.canvas.pen()
    for _ in range(sketch.several(0, 3)):
        x, y, size = (
            sketch.between(0.03, 0.97),
            front + sketch.between(0.02, 0.1),
            sketch.between(0.14, 0.24),
        )
        thick, up = 0.16 * size, size / pen.tall
        pen.line([(x, y), (x, y - up)], thick)
        pen.ellipse(x, y - up, thick / 2, thick / 2)
        for side, low in ((-1, 0.35), (1, 0.5)):
            far = x + side * 0.27 * size / pen.wide
            pen.line(
                [(x, y - low * up), (far, y - low * up), (far, y - (low + 0.3) * up)], 0.75 * thick
            )
            pen.ellipse(far, y - (low + 0.3) * up, 0.37 * thick, 0.37 * thick)
            pen.ellipse(far, y - low * up, 0.37 * thick, 0.37 * thick)
    sketch.canvas.fill(pen.mask(), sketch.air.lit(rgb("#4c8454"), 0.05))
