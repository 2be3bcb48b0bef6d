"""Hills under snow, with firs."""

from flux1.training.mini.world.places.colours import mix, rgb
from flux1.training.mini.world.places.land import (
    conifer,
    hill_line,
    layer,
    meadow,
    ridge_line,
)
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch
from flux1.training.mini.world.places.sky import paint_sky
from flux1.training.mini.world.places.water import paint_lake


def paint_snow(sketch: Sketch) -> tuple[Ground, ...]:
    """Hills under snow, blue in their shadows, firs, in some seeds a frozen lake."""
    horizon = sketch.between(0.48, 0.6)
    white, blue = rgb("#f4f8fd"), rgb("#c4d4ec")
    paint_sky(sketch, horizon)
    if sketch.chance(0.5):
        layer(sketch, ridge_line(sketch, horizon + 0.02, 0.24, 3), rgb("#a8bcd8"), 0.5)
    layer(sketch, hill_line(sketch, horizon, 0.05, 1.1), mix(blue, white, 0.3), 0.3)
    _firs(sketch, horizon + 0.06, 0.12, 0.3)
    middle = hill_line(sketch, horizon + 0.07, 0.03, 0.9)
    meadow(sketch, middle, white, mix(white, blue, 0.6), 0.15)
    front = horizon + sketch.between(0.15, 0.2)
    if sketch.chance(0.3):
        paint_lake(sketch, horizon + 0.1, front)
    _firs(sketch, front + 0.02, 0.24, 0.08)
    meadow(sketch, hill_line(sketch, front, 0.02, 0.7), white, mix(white, blue, 0.55))
    return Ground(front + 0.06, 0.97, "ground"), Ground(0.06, horizon - 0.1, "sky")


def _firs(sketch: Sketch, y: float, size: float, distance: float) -> None:
    """Firs with snow on their tips."""
    canvas, pen, tips = sketch.canvas, sketch.canvas.pen(), sketch.canvas.pen()
    side = 1 if sketch.air.sun_x > 0.5 else -1
    for _ in range(round(sketch.several(0, 5) * canvas.wide)):
        x, tall = sketch.between(0, 1), size * sketch.between(0.7, 1.25)
        conifer(pen, x, y, tall)
        for low, wide in ((0.615, 0.3), (0.785, 0.23), (0.955, 0.155)):
            top = (0, -low * tall)
            edge = (side * 0.62 * wide * tall, -(low - 0.26) * tall)
            tips.polygon(x, y, [top, edge, (side * 0.12 * wide * tall, -(low - 0.2) * tall)])
    canvas.fill(pen.mask(), sketch.air.lit(rgb("#3f6f68"), distance))
    canvas.fill(tips.mask() * pen.mask(), sketch.air.lit(rgb("#eef4fb"), distance))
