"""Mountains: a clear range of peaks with lit and shaded sides, ridges in the haze, land before."""

import numpy as np

from flux1.training.mini.world.places.canvas import Pen
from flux1.training.mini.world.places.colours import Rgb, mix, palette, rgb
from flux1.training.mini.world.places.land import (
    conifer,
    hill_line,
    layer,
    meadow,
    ridge_line,
    shaded,
)
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch
from flux1.training.mini.world.places.sky import paint_sky
from flux1.training.mini.world.places.water import paint_lake

# Far range, rock, hills, far meadow, near meadow.
_PALETTES = (
    ("#7f93b8", "#6d7f9c", "#4f8f5e", "#79b857", "#4c9a42"),
    ("#8c9cc4", "#7c6f86", "#5f7f5a", "#a3b860", "#6f9440"),
    ("#95a4b8", "#5f7688", "#3f6e5a", "#63a35a", "#35804a"),
    ("#a58fb4", "#8a6f78", "#8a7a4c", "#d0b25c", "#a8843e"),
    ("#7fa0c8", "#5a86b4", "#3f7f7a", "#6cbf8a", "#3c9468"),
)


def paint_mountains(sketch: Sketch) -> tuple[Ground, ...]:
    """Sky, a far range, two to four peaks or plain ridges, hills with firs, a meadow or a lake."""
    far, rock, hills, back, near = palette(sketch.rng, _PALETTES)
    foot, front = sketch.between(0.56, 0.68), sketch.between(0.7, 0.8)
    paint_sky(sketch, foot, rise=0.2)
    layer(sketch, ridge_line(sketch, foot, sketch.between(0.16, 0.32), 4), far, 0.55)
    _RANGES[sketch.several(0, 2) > 0](sketch, rock, foot)
    layer(sketch, hill_line(sketch, foot + 0.03, 0.05, 1.1), sketch.air.white(hills, 0.7), 0.2)
    if sketch.chance(0.4):
        paint_lake(sketch, foot + 0.05, front)
    line = hill_line(sketch, front, 0.025, 0.6)
    meadow(sketch, line, sketch.air.white(back), sketch.air.white(near))
    _firs(sketch, front, hills)
    return Ground(front + 0.05, 0.97, "ground"), Ground(0.06, foot - 0.15, "sky")


def paint_mountain_lake(sketch: Sketch) -> tuple[Ground, ...]:
    """A lake that mirrors mountains and sky, a strip of shore before it."""
    far, rock, hills, back, near = palette(sketch.rng, _PALETTES)
    foot, front = sketch.between(0.46, 0.56), sketch.between(0.84, 0.92)
    paint_sky(sketch, foot, rise=0.2)
    layer(sketch, ridge_line(sketch, foot, sketch.between(0.14, 0.26), 4), far, 0.55)
    _RANGES[sketch.several(0, 1)](sketch, rock, foot)
    layer(sketch, hill_line(sketch, foot - 0.01, 0.04, 1.1), sketch.air.white(hills, 0.7), 0.2)
    _firs(sketch, foot - 0.01, hills)
    paint_lake(sketch, foot + 0.04, 1.0)
    line = hill_line(sketch, front, 0.025, 0.7)
    meadow(sketch, line, sketch.air.white(back), sketch.air.white(near))
    water = Ground(foot + 0.12, front - 0.04, "water surface")
    return water, Ground(front + 0.04, 0.98, "ground"), Ground(0.05, foot - 0.15, "sky")


def _ridges(sketch: Sketch, rock: Rgb, foot: float) -> None:
    """Two or three ridges, one behind the other, as mountains look from far away."""
    count = sketch.several(2, 3)
    for i in range(count):
        near = (i + 1) / count
        line = ridge_line(sketch, foot + 0.02, 0.34 - 0.2 * near, 3 + i, 0.6)
        layer(sketch, line, mix(rock, rgb("#3c4a66"), 0.3 * near), 0.5 - 0.32 * near)


def _peaks(sketch: Sketch, rock: Rgb, foot: float) -> None:
    """Two to four great peaks, lit on the sun's side, snow on the tops of most."""
    count, snow = sketch.several(2, 4), sketch.chance(0.75)
    order = sketch.rng.permutation(count)
    for i in order:
        x = (i + sketch.between(0.2, 0.8)) / count
        height = sketch.between(0.26, min(0.48, foot - 0.1)) * sketch.canvas.tall
        _peak(sketch, x, foot + 0.04, height, rock, snow)


def _peak(sketch: Sketch, x: float, y: float, height: float, rock: Rgb, snow: bool) -> None:
    air, canvas = sketch.air, sketch.canvas
    left, right = height * sketch.between(0.7, 1.15), height * sketch.between(0.7, 1.15)
    crease = [(sketch.between(-0.07, 0.07) * height, -height * t) for t in (0.72, 0.45, 0.2)]
    light = 0.25
    body, side, cap = canvas.pen(), canvas.pen(), canvas.pen()
    body.polygon(x, y, [(-left, 0), (0, -height), (right, 0)])
    dark = [(0, -height), *crease, (0, 0)]
    dark.append((right, 0) if air.sun_x < x else (-left, 0))
    side.polygon(x, y, dark)
    canvas.fill(body.mask(), air.lit(air.white(rock, 0.4), light))
    canvas.fill(side.mask(), air.lit(shaded(air.white(rock, 0.4), 0.5), light))
    if snow:
        _snow_cap(sketch, cap, x, y, height, left, right)
        mask = cap.mask()
        canvas.fill(mask, air.lit(rgb("#f6f9ff"), 0.15))
        canvas.fill(mask * side.mask(), air.lit(rgb("#b4c4e2"), 0.15))


def _snow_cap(
    sketch: Sketch, pen: Pen, x: float, y: float, height: float, left: float, right: float
) -> None:
    """The upper third of a peak, its lower edge a zigzag."""
    deep = sketch.between(0.26, 0.4)
    edge = np.linspace(1, -1, 7)[1:-1]
    jags = [
        (
            float((right if e > 0 else left) * e * deep),
            -height * (1 - deep - (0.1 if i % 2 else -0.02)),
        )
        for i, e in enumerate(edge)
    ]
    ends = (right * deep, -height * (1 - deep)), (-left * deep, -height * (1 - deep))
    pen.polygon(x, y, [(0, -height), ends[0], *jags, ends[1]])


_RANGES = (_ridges, _peaks)


def _firs(sketch: Sketch, front: float, colour: Rgb) -> None:
    """A few firs at the sides of the meadow, in half of the seeds."""
    if sketch.chance(0.5):
        return
    pen = sketch.canvas.pen()
    for _ in range(sketch.several(3, 8)):
        x = sketch.between(0, 0.28) if sketch.chance(0.5) else sketch.between(0.72, 1)
        conifer(pen, x, front + sketch.between(0, 0.05), sketch.between(0.09, 0.2))
    sketch.canvas.fill(
        pen.mask(), sketch.air.lit(mix(sketch.air.white(colour, 0.5), rgb("#1f4a38"), 0.45), 0.05)
    )
