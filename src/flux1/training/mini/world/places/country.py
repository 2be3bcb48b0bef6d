"""The country: fields, snow and deserts."""

import numpy as np

from flux1.training.mini.world.places.canvas import Pen
from flux1.training.mini.world.places.colours import Rgb, choose, mix, palette, rgb
from flux1.training.mini.world.places.land import (
    conifer,
    hill_line,
    layer,
    meadow,
    ridge_line,
    round_tree,
    shaded,
)
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch
from flux1.training.mini.world.places.sky import paint_sky
from flux1.training.mini.world.places.water import paint_lake

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
        _mesas(sketch, horizon, far, 0.5)
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
