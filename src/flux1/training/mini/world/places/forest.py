"""Forests: firs in the mist, trunks with sunbeams, round trees around a glade."""

import numpy as np

from flux1.training.mini.world.places.colours import Rgb, choose, mix, palette, rgb
from flux1.training.mini.world.places.land import conifer, hill_line, meadow, round_tree, shaded
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch
from flux1.training.mini.world.places.sky import paint_sky

# Far leaves, near leaves, trunks, back of the ground, its front.
_PALETTES = (
    ("#7fb48c", "#2f6f4c", "#5c4434", "#8fb864", "#4c8444"),
    ("#94b89c", "#1f5c54", "#4c3c38", "#6f9c6c", "#35684c"),
    ("#d8b468", "#b8682c", "#5c3c2c", "#d4a858", "#a06c38"),
    ("#a4c474", "#4c8c3c", "#6f543c", "#b4c864", "#6c9c40"),
    ("#8cb4b8", "#2c5f74", "#3c4450", "#6c9ca0", "#335f6c"),
)


def paint_forest(sketch: Sketch) -> tuple[Ground, ...]:
    """Three ranks of trees, paler with distance, around a glade."""
    far, near, trunk, back, front = palette(sketch.rng, _PALETTES)
    floor = sketch.between(0.62, 0.74)
    paint_sky(sketch, floor, clouds=False, rise=0.25)
    kind = choose(sketch.rng, (_firs, _firs, _trunks, _broad))
    kind(sketch, floor, far, near, trunk)
    line = hill_line(sketch, floor, 0.018, 0.8)
    meadow(sketch, line, sketch.air.white(back, 0.8), sketch.air.white(front, 0.8))
    _frame(sketch, floor, near, trunk, kind is _broad)
    return (Ground(floor + 0.07, 0.97, "ground"),)


def _firs(sketch: Sketch, floor: float, far: Rgb, near: Rgb, trunk: Rgb) -> None:
    """Firs behind firs; the farthest are nearly mist."""
    canvas, air = sketch.canvas, sketch.air
    for rank in range(3):
        pen, share = canvas.pen(), rank / 2
        size = 0.34 + 0.16 * rank
        count = round((11 - 3 * rank) * canvas.wide)
        for i in range(count):
            x = (i + sketch.between(0, 1)) / count
            conifer(pen, x, floor + 0.03, size * sketch.between(0.75, 1.2), 4)
        colour = air.white(mix(far, near, 0.3 + 0.45 * share), 0.4)
        rows = (air.lit(colour, 0.55 - 0.45 * share), air.lit(colour, 0.72 - 0.45 * share))
        canvas.fill(pen.mask(), canvas.rows(rows, floor - size, floor))


def _trunks(sketch: Sketch, floor: float, far: Rgb, near: Rgb, trunk: Rgb) -> None:
    """Tall trunks from top to bottom, leaves above, beams of light between them."""
    canvas, air = sketch.canvas, sketch.air
    glow = canvas.rows((air.lit(mix(far, near, 0.35), 0.25), air.lit(far, 0.6)), 0, floor)
    canvas.fill(np.ones_like(canvas.pixels[..., 0]), glow, 0.8)
    for rank in range(3):
        pen, wide = canvas.pen(), 0.02 + 0.018 * rank
        count = round((8 - 2 * rank) * canvas.wide)
        for i in range(count):
            x, lean = (i + sketch.between(0, 1)) / count, sketch.between(-0.02, 0.02)
            low = floor + 0.03 + 0.02 * rank
            foot = [(1.5 * wide, 0), (-1.5 * wide, 0), (-wide, -0.08)]
            pen.polygon(
                x, low, [*foot, (lean - 0.8 * wide, -1.7), (lean + 0.8 * wide, -1.7), (wide, -0.08)]
            )
        canvas.fill(pen.mask(), air.lit(mix(trunk, far, 0.25 * (2 - rank)), 0.45 - 0.2 * rank))
        if rank < 2:
            _beams(sketch, 0.12)
    _leaves(sketch, near)


def _beams(sketch: Sketch, strength: float) -> None:
    air, pen = sketch.air, sketch.canvas.pen()
    lean = 0.5 if air.sun_x < 0.5 else -0.5
    for i in range(3):
        x, wide = (
            air.sun_x + 0.3 * (i - 1) + sketch.between(-0.05, 0.05),
            sketch.between(0.04, 0.09),
        )
        pen.polygon(
            x, -0.05, [(-wide, 0), (wide, 0), (lean + 1.8 * wide, 1.0), (lean - 1.8 * wide, 1.0)]
        )
    sketch.canvas.fill(pen.mask(), mix(air.glow, rgb("#ffffff"), 0.3), strength * air.light.ambient)


def _leaves(sketch: Sketch, near: Rgb) -> None:
    """A canopy of round heaps along the upper edge."""
    canvas, air, pen = sketch.canvas, sketch.air, sketch.canvas.pen()
    count = round(9 * canvas.wide)
    for i in range(count):
        r = sketch.between(0.1, 0.17)
        pen.ellipse((i + sketch.between(0, 1)) / count, sketch.between(-0.04, 0.06), r, 0.8 * r)
    canvas.fill(pen.mask(), air.lit(air.white(near, 0.4), 0.1))


def _broad(sketch: Sketch, floor: float, far: Rgb, near: Rgb, trunk: Rgb) -> None:
    """Round trees, rank before rank."""
    canvas, air = sketch.canvas, sketch.air
    for rank in range(3):
        pen, trunks, size = canvas.pen(), canvas.pen(), 0.36 + 0.12 * rank
        count, low = round((8 - 2 * rank) * canvas.wide), floor + 0.03
        for i in range(count):
            x, grown = (i + sketch.between(0, 1)) / count, size * sketch.between(0.85, 1.15)
            round_tree(pen, x, low, grown, list(sketch.rng.uniform(0, 1, 5)))
            trunks.polygon(
                x,
                low,
                [
                    (-0.04 * size, 0),
                    (0.04 * size, 0),
                    (0.02 * size, -0.6 * size),
                    (-0.02 * size, -0.6 * size),
                ],
            )
        away = 0.5 - 0.2 * rank
        canvas.fill(trunks.mask(), air.lit(trunk, away))
        colour = air.white(mix(far, near, 0.2 + 0.35 * rank), 0.6)
        rows = canvas.rows(
            (air.lit(colour, away), air.lit(shaded(colour, 0.35), away)), floor - size, floor
        )
        canvas.fill(pen.mask(), rows)


def _frame(sketch: Sketch, floor: float, near: Rgb, trunk: Rgb, broad: bool) -> None:
    """Bushes or firs at one or both sides, near the viewer."""
    canvas, pen = sketch.canvas, sketch.canvas.pen()
    for x in (sketch.between(-0.04, 0.06), sketch.between(0.94, 1.04)):
        if sketch.chance(0.35):
            continue
        size, y = sketch.between(0.45, 0.75), floor + sketch.between(0.06, 0.12)
        if broad:
            round_tree(pen, x, y, 0.6 * size, [1.0, 0.6, 0.8, 0.5, 1.0])
        else:
            conifer(pen, x, y, size, 4)
    canvas.fill(pen.mask(), sketch.air.lit(sketch.air.white(shaded(near, 0.45), 0.3)))
