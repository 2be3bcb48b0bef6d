"""Forests: firs in the mist, trunks with sunbeams, round trees around a glade."""

import numpy as np

from flux1.training.mini.world.places.canvas import Line, Pen
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
    """Slopes of firs, one behind the other; the farthest are nearly mist."""
    air, ranks = sketch.air, sketch.several(3, 4)
    for rank in range(ranks):
        share = rank / (ranks - 1)
        slope = hill_line(sketch, floor - 0.2 * (1 - share) + 0.01, 0.045, 0.8)
        colour = air.white(mix(far, near, 0.15 + 0.65 * share), 0.4)
        _slope(sketch, slope, 0.13 + 0.17 * share, colour, 0.6 - 0.5 * share)


def _slope(sketch: Sketch, slope: Line, size: float, colour: Rgb, distance: float) -> None:
    """A hill with firs along its crest, in gaps and crowds."""
    canvas, air, pen = sketch.canvas, sketch.air, sketch.canvas.pen()
    count, gap = round(2.2 * canvas.wide / size), sketch.between(0, 6.283)
    for i in range(count):
        x = (i + sketch.between(0, 1)) / count
        y = float(slope[min(int(x * canvas.width), canvas.width - 1)])
        grown = 0.75 + 0.35 * np.sin(5 * x + gap) + sketch.between(-0.2, 0.2)
        conifer(pen, x, y + 0.02, size * max(0.4, float(grown)), 4)
    mask = np.maximum(pen.mask(), canvas.below(slope))
    top = float(slope.min()) - size
    low = air.lit(colour, min(1.0, distance + 0.18))
    canvas.fill(mask, canvas.rows((air.lit(colour, distance), low), top, top + 1.6 * size))


def _trunks(sketch: Sketch, floor: float, far: Rgb, near: Rgb, trunk: Rgb) -> None:
    """Tall trunks from top to bottom, leaves above, beams of light between them."""
    canvas, air = sketch.canvas, sketch.air
    light = mix(far, rgb("#f4f0c8"), 0.35)
    glow = canvas.rows((air.lit(mix(far, near, 0.3), 0.2), air.lit(light, 0.55)), 0, floor)
    canvas.fill(np.ones_like(canvas.pixels[..., 0]), glow, 0.75)
    if not air.hidden:
        canvas.glow(air.sun_x, 0.55 * floor, 0.3, air.glow, 0.45 * air.light.ambient, 0.45)
    for rank in range(3):
        pen, count = canvas.pen(), round((7 - 1.5 * rank) * canvas.wide)
        for i in range(count):
            x, wide = (i + sketch.between(0, 1)) / count, 0.009 + 0.011 * rank
            _trunk(sketch, pen, x, floor + 0.03 + 0.02 * rank, wide * sketch.between(0.7, 1.3))
        colour = mix(trunk, far, 0.3 * (2 - rank))
        rows = (air.lit(shaded(colour, 0.3), 0.4 - 0.2 * rank), air.lit(colour, 0.5 - 0.2 * rank))
        canvas.fill(pen.mask(), canvas.rows(rows, 0.1, floor))
        if rank < 2:
            _beams(sketch, 0.13)
    _leaves(sketch, mix(near, far, 0.4), 0.07, 0.3)
    _leaves(sketch, near, 0.0, 0.08)


def _trunk(sketch: Sketch, pen: Pen, x: float, y: float, wide: float) -> None:
    """A trunk that broadens at its foot, with a branch or two."""
    lean = sketch.between(-0.03, 0.03)
    left, right = [(-2.2 * wide, 0), (-wide, -0.06)], [(wide, -0.06), (2.2 * wide, 0)]
    pen.polygon(x, y, [*left, (lean - 0.8 * wide, -1.7), (lean + 0.8 * wide, -1.7), *right])
    for side in (-1, 1):
        if sketch.chance(0.4):
            up = sketch.between(0.35, 0.6)
            far = (x + side * 0.1 / pen.wide, y - (up + 0.12) / pen.tall)
            pen.line([(x + 0.3 * lean * up, y - up / pen.tall), far], wide)


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


def _leaves(sketch: Sketch, colour: Rgb, height: float, distance: float) -> None:
    """A canopy of round heaps along the upper edge."""
    canvas, air, pen = sketch.canvas, sketch.air, sketch.canvas.pen()
    count = round(8 * canvas.wide)
    for i in range(count):
        r, x = sketch.between(0.08, 0.15), (i + sketch.between(0, 1)) / count
        pen.ellipse(x, height + sketch.between(-0.05, 0.04), r, 0.75 * r)
    canvas.fill(pen.mask(), air.lit(air.white(colour, 0.4), distance))


def _broad(sketch: Sketch, floor: float, far: Rgb, near: Rgb, trunk: Rgb) -> None:
    """Round trees, rank before rank, every other one in a darker green."""
    canvas, air = sketch.canvas, sketch.air
    for rank in range(3):
        light, dark, trunks = canvas.pen(), canvas.pen(), canvas.pen()
        size, away = 0.3 + 0.1 * rank, 0.5 - 0.2 * rank
        count = round((8 - 1.5 * rank) * canvas.wide)
        for i in range(count):
            x, grown = (i + sketch.between(0, 1)) / count, size * sketch.between(0.7, 1.2)
            pen, low = (light, dark)[i % 2], floor + sketch.between(0.0, 0.03)
            round_tree(pen, x, low, grown, list(sketch.rng.uniform(0, 1, 5)))
            foot, neck = (0.045 * grown, 0), (0.02 * grown, -0.6 * grown)
            trunks.polygon(x, low, [foot, neck, (-neck[0], neck[1]), (-foot[0], 0)])
        canvas.fill(trunks.mask(), air.lit(trunk, away))
        for pen, shade in ((light, 1.0), (dark, 0.84)):
            colour = air.white(mix(far, near, 0.2 + 0.3 * rank) * np.float32(shade), 0.6)
            tones = (air.lit(colour, away), air.lit(shaded(colour, 0.4), away))
            canvas.fill(pen.mask(), canvas.rows(tones, floor - size, floor))


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
