"""Fields: hills, a meadow, trees, flowers, a path, a fence or furrows."""

import numpy as np

from flux1.training.mini.world.places.canvas import Pen
from flux1.training.mini.world.places.colours import Rgb, choose, palette, rgb
from flux1.training.mini.world.places.land import (
    hill_line,
    layer,
    meadow,
    round_tree,
    shaded,
)
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch
from flux1.training.mini.world.places.sky import paint_sky

# Far hills, middle hills, back of the field, its front.
_FIELDS = (
    ("#8fbf9c", "#6fae5c", "#8fcf5c", "#5cae48"),
    ("#9cc4a4", "#8fb85c", "#c4d468", "#8fb84c"),
    ("#a4b88c", "#b8a858", "#ecd070", "#d4a844"),
    ("#8fb4b8", "#5c9c74", "#6cbc6c", "#3f9454"),
    ("#a8a4c8", "#8f9c78", "#a89ce0", "#7c6cbc"),
)
_FLOWERS = ("#f25c6e", "#ffd84a", "#ffffff", "#c47cf0", "#ff9a5c")


def paint_field(sketch: Sketch) -> tuple[Ground, ...]:
    """Rolling hills and a meadow, with trees, and flowers, a path or a fence."""
    far, middle, back, near = palette(sketch.rng, _FIELDS)
    air, horizon, front = sketch.air, sketch.between(0.46, 0.62), 0.0
    paint_sky(sketch, horizon)
    layer(sketch, hill_line(sketch, horizon, 0.05, 1.0), air.white(far), 0.45)
    hills = hill_line(sketch, horizon + 0.05, 0.04, 0.9)
    layer(sketch, hills, air.white(middle), 0.2)
    front = horizon + sketch.between(0.1, 0.15)
    _trees(sketch, front)
    meadow(sketch, hill_line(sketch, front, 0.02, 0.6), air.white(back), air.white(near))
    choose(sketch.rng, (_path, _flowers, _flowers, _fence, _rows))(sketch, front, near)
    return Ground(front + 0.07, 0.97, "ground"), Ground(0.06, horizon - 0.1, "sky")


def _trees(sketch: Sketch, front: float) -> None:
    """A few broad trees where the meadow begins."""
    green = rgb(choose(sketch.rng, ("#4c9450", "#3f8454", "#74a444", "#d08a3c")))
    for _ in range(sketch.several(0, 3)):
        x, size = sketch.between(0.02, 0.98), sketch.between(0.12, 0.26)
        pen, trunk = sketch.canvas.pen(), sketch.canvas.pen()
        round_tree(pen, x, front + 0.01, size, list(sketch.rng.uniform(0, 1, 5)))
        trunk.polygon(x, front + 0.01, [(-0.03 * size, 0), (0.03 * size, 0), (0, -0.6 * size)])
        sketch.canvas.fill(trunk.mask(), sketch.air.lit(rgb("#6f4c34"), 0.1))
        _crown(sketch, pen, front, size, sketch.air.white(green, 0.8))


def _crown(sketch: Sketch, pen: Pen, y: float, size: float, green: Rgb) -> None:
    """A crown that is lit from above."""
    canvas, air = sketch.canvas, sketch.air
    top = y - 0.95 * size / canvas.tall
    rows = canvas.rows((air.lit(green * 1.12, 0.1), air.lit(shaded(green, 0.45), 0.1)), top, y)
    canvas.fill(pen.mask(), np.clip(rows, 0, 1))


def _path(sketch: Sketch, front: float, near: Rgb) -> None:
    """A winding path, broad at the viewer's feet."""
    up = np.linspace(0, 1, 14)
    start, end = sketch.between(0.2, 0.8), sketch.between(0.25, 0.75)
    middle = start + (end - start) * up + 0.1 * np.sin(up * sketch.between(2, 5)) * (1 - up)
    half = 0.012 + 0.13 * (1 - up) ** 1.7
    y = 1.02 - (1.0 - front) * up
    pen = sketch.canvas.pen()
    edge = [*zip(middle - half, y, strict=True), *list(zip(middle + half, y, strict=True))[::-1]]
    pen.polygon(0, 0, [(float(a) * pen.wide, float(b) * pen.tall) for a, b in edge])
    sketch.canvas.fill(pen.mask(), sketch.air.lit(sketch.air.white(rgb("#e0c896"), 0.5)))


def _flowers(sketch: Sketch, front: float, near: Rgb) -> None:
    """Flowers, larger towards the viewer."""
    canvas, air = sketch.canvas, sketch.air
    colours = [air.lit(air.white(rgb(choose(sketch.rng, _FLOWERS)), 0.5)) for _ in range(2)]
    for _ in range(round(16 * canvas.wide)):
        at = sketch.between(0.1, 1) ** 0.8
        y, r = front + 0.04 + at * (0.94 - front), 0.007 + 0.009 * at
        x = sketch.between(0, 1)
        canvas.disc(x, y, r, choose(sketch.rng, colours))
        if at > 0.5:
            canvas.disc(x, y, 0.4 * r, air.lit(rgb("#f7b731")))


def _fence(sketch: Sketch, front: float, near: Rgb) -> None:
    """A wooden fence across the back of the meadow."""
    canvas = sketch.canvas
    wood = sketch.air.lit(rgb(choose(sketch.rng, ("#f4efe4", "#a8784c", "#8f6844"))))
    y, size = front + 0.03, sketch.between(0.09, 0.12) / canvas.tall
    for rail in (0.35, 0.7):
        canvas.box(0, y - size * rail, 1, y - size * rail + 0.016 / canvas.tall, wood * 0.9)
    count = round(sketch.several(6, 9) * canvas.wide)
    for i in range(count):
        x = (i + 0.5) / count
        canvas.box(x - 0.012 / canvas.wide, y - size, x + 0.012 / canvas.wide, y + 0.01, wood)


def _rows(sketch: Sketch, front: float, near: Rgb) -> None:
    """Furrows that run towards one point of the horizon."""
    canvas, pen, at = sketch.canvas, sketch.canvas.pen(), sketch.between(0.3, 0.7)
    for i in range(-5, 6):
        x = at + 0.3 * i
        corners = [(at + 0.012 * i, front), (x - 0.05, 1.0), (x + 0.06, 1.0)]
        pen.polygon(0, 0, [(a * pen.wide, b * pen.tall) for a, b in corners])
    mask = pen.mask() * canvas.below(np.full_like(canvas.x, front + 0.02))
    canvas.fill(mask, sketch.air.lit(sketch.air.white(shaded(near, 0.4), 0.7)), 0.55)
