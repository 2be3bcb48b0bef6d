"""A city of the future: towers in strange forms, neon, bridges, flying lights, haze."""

import numpy as np

from flux1.training.mini.world.places.canvas import Box, Pen
from flux1.training.mini.world.places.colours import Rgb, choose, mix, palette, rgb
from flux1.training.mini.world.places.rays import paint_rays
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch
from flux1.training.mini.world.places.sky import paint_sky
from flux1.training.mini.world.places.towers import Picture
from flux1.training.mini.world.places.water import paint_lake

# Far towers, near towers, and three colours of neon.
_PALETTES = (
    ("#5c6cac", "#2c3468", "#3ce8ff", "#ff4cc8", "#ffd84c"),
    ("#7c5ca4", "#38245c", "#ff5c9c", "#5cd8ff", "#a47cff"),
    ("#4c88a0", "#1c3c54", "#4cffd8", "#5ca8ff", "#ff8c4c"),
    ("#8c6484", "#3c2848", "#ffb03c", "#ff5c6c", "#6ce0ff"),
    ("#6474b4", "#242c54", "#8c7cff", "#4cf0e0", "#ff6cb4"),
)


def paint_scifi_city(sketch: Sketch) -> tuple[Ground, ...]:
    """Three ranks of towers, the nearest with neon, over a shining ground or a dark water."""
    canvas = sketch.canvas
    far, near, *neon = palette(sketch.rng, _PALETTES)
    foot = sketch.between(0.7, 0.82)
    paint_sky(sketch, foot - 0.08, clouds=sketch.chance(0.4))
    if sketch.chance(0.3):
        _great_moon(sketch, foot)
    light = np.zeros_like(canvas.pixels)
    _rank(sketch, foot, 0.6, far, 0.06, (), light)
    paint_rays(sketch, foot - 0.12, 0.55)
    _rank(sketch, foot, 0.34, mix(far, near, 0.5), 0.09, neon if sketch.air.dark else (), light)
    _fliers(sketch, neon, light)
    _rank(sketch, foot, 0.05, near, 0.13, neon, light)
    front = choose(sketch.rng, (_platform, _platform, _water))(sketch, foot, near, neon, light)
    canvas.bloom(light, 0.028, 1.1 if sketch.air.dark else 0.7)
    return front, Ground(0.06, 0.42, "sky")


def _great_moon(sketch: Sketch, foot: float) -> None:
    """A planet, huge and pale, behind the towers."""
    canvas, air = sketch.canvas, sketch.air
    x, y, r = 1 - air.sun_x, sketch.between(0.15, 0.4) * foot, sketch.between(0.14, 0.24)
    pale = mix(air.sky[1], mix(air.glow, rgb("#ffffff"), 0.4), 0.4)
    canvas.disc(x, y, r, pale, 0.8)
    canvas.disc(
        x + 0.22 * r, y - 0.12 * r, 0.86 * r, mix(pale, air.sky[0], 0.3), 0.4, 0.3 * r * canvas.unit
    )


def _rank(
    sketch: Sketch,
    foot: float,
    distance: float,
    colour: Rgb,
    wide: float,
    neon: tuple[Rgb, ...] | list[Rgb],
    light: Picture,
) -> None:
    """One rank of towers: their shapes first, then the lights on them."""
    canvas, air, pen, shade = sketch.canvas, sketch.air, sketch.canvas.pen(), sketch.canvas.pen()
    count = round(0.66 / wide * canvas.wide)
    towers = []
    for i in range(count):
        x = (i + sketch.between(0.1, 0.9)) / count
        size = (
            sketch.between(0.22, 0.62 if distance > 0.1 else 0.5)
            * canvas.tall
            * (0.75 + 0.25 * foot)
        )
        half = 0.5 * wide * sketch.between(0.6, 1.2)
        choose(sketch.rng, _FORMS)(pen, x, foot + 0.02, half, size)
        shade.polygon(
            x, foot + 0.02, [(0.25 * half, 0), (half, 0), (half, -size), (0.25 * half, -size)]
        )
        towers.append((x, half, size))
    mask, top = pen.mask(), foot - 0.5
    rows = canvas.rows(
        (air.lit(colour, distance), air.lit(colour, min(1, 1.3 * distance + 0.2))), top, foot
    )
    canvas.fill(mask, rows)
    canvas.fill(mask * shade.mask(), rows * np.float32(0.8), 0.8)
    for tower in towers if neon else ():
        _lights(sketch, *tower, foot, choose(sketch.rng, list(neon)), distance, light)


def _needle(pen: Pen, x: float, y: float, half: float, size: float) -> None:
    """A slim spire on a broader foot."""
    pen.polygon(
        x,
        y,
        [(-half, 0), (-0.5 * half, -0.6 * size), (0, -size), (0.5 * half, -0.6 * size), (half, 0)],
    )


def _blade(pen: Pen, x: float, y: float, half: float, size: float) -> None:
    """A slab with one curved edge."""
    curve = [(half * (1 - 1.7 * t**2.2), -size * t) for t in np.linspace(0, 1, 9)]
    pen.polygon(x, y, [(-half, 0), (-0.8 * half, -size), *curve[::-1]])


def _stack(pen: Pen, x: float, y: float, half: float, size: float) -> None:
    """Blocks that narrow in steps, an antenna on top."""
    for share, up in ((1, 0.5), (0.72, 0.75), (0.42, 0.9)):
        pen.polygon(
            x,
            y,
            [
                (-share * half, 0),
                (-share * half, -up * size),
                (share * half, -up * size),
                (share * half, 0),
            ],
        )
    pen.polygon(x, y, [(-0.007, 0), (0.007, 0), (0.004, -1.1 * size), (-0.004, -1.1 * size)])


def _saucer(pen: Pen, x: float, y: float, half: float, size: float) -> None:
    """A shaft that carries a disc."""
    pen.polygon(
        x, y, [(-0.6 * half, 0), (-0.28 * half, -size), (0.28 * half, -size), (0.6 * half, 0)]
    )
    pen.ellipse(x, y - 0.8 * size / pen.tall, 1.25 * half, 0.36 * half)
    pen.polygon(x, y, [(-0.007, 0), (0.007, 0), (0, -1.15 * size)])


def _capsule(pen: Pen, x: float, y: float, half: float, size: float) -> None:
    """A tower with a round head."""
    pen.polygon(x, y, [(-half, 0), (-half, -size), (half, -size), (half, 0)])
    pen.ellipse(x, y - size / pen.tall, half, 1.2 * half)


def _twins(pen: Pen, x: float, y: float, half: float, size: float) -> None:
    """Two slim towers, joined by a bridge."""
    for side, up in ((-1, 1.0), (1, 0.84)):
        a, b = sorted((side * half, side * 0.25 * half))
        pen.polygon(x, y, [(a, 0), (a, -up * size), (b, -(up - 0.06) * size), (b, 0)])
    pen.polygon(
        x,
        y,
        [(-half, -0.55 * size), (-half, -0.62 * size), (half, -0.62 * size), (half, -0.55 * size)],
    )


_FORMS = (_needle, _blade, _stack, _saucer, _capsule, _twins)


def _lights(
    sketch: Sketch,
    x: float,
    half: float,
    size: float,
    foot: float,
    colour: Rgb,
    distance: float,
    light: Picture,
) -> None:
    """A line of neon up the tower, or rows of lit windows across it."""
    canvas = sketch.canvas
    strong = (1 if sketch.air.dark else 0.75) * (1 - 0.9 * distance)
    if sketch.chance(0.5):
        low, high = sketch.between(0.05, 0.3), sketch.between(0.55, 0.8)
        at = x + sketch.between(-0.3, 0.1) * half / canvas.wide
        edge = 0.006 / canvas.wide
        _shine(
            sketch,
            (
                at - edge,
                foot - high * size / canvas.tall,
                at + edge,
                foot - low * size / canvas.tall,
            ),
            colour,
            strong,
            light,
        )
        return
    for i in range(sketch.several(3, 6)):
        y = foot - (0.1 + 0.1 * i) * size / canvas.tall
        inner = 0.5 * half * sketch.between(0.5, 1) / canvas.wide
        _shine(sketch, (x - inner, y, x + inner, y + 0.011 / canvas.tall), colour, strong, light)


def _shine(
    sketch: Sketch,
    box: Box,
    colour: Rgb,
    strong: float,
    light: Picture,
) -> None:
    """A lamp's tube: a bright box that also goes into the picture of lights."""
    canvas = sketch.canvas
    canvas.box(*box, mix(colour, rgb("#ffffff"), 0.25), strong)
    columns = slice(max(0, round(box[0] * canvas.width)), max(0, round(box[2] * canvas.width)))
    light[
        max(0, round(box[1] * canvas.height)) : max(0, round(box[3] * canvas.height)), columns
    ] = colour * strong


def _fliers(sketch: Sketch, neon: list[Rgb], light: Picture) -> None:
    """Flying cars: a bright head and a fading trail, in one or two lanes."""
    canvas = sketch.canvas
    for _ in range(sketch.several(1, 2)):
        y, slope, colour = (
            sketch.between(0.25, 0.55),
            sketch.between(-0.12, 0.12),
            choose(sketch.rng, neon),
        )
        for _ in range(round(sketch.several(2, 4) * canvas.wide)):
            x = sketch.between(0.02, 0.95)
            at = y + slope * x
            canvas.ellipse(x - 0.028, at, 0.032, 0.005, colour, 0.5, 1.5)
            canvas.ellipse(x, at, 0.011, 0.008, rgb("#ffffff"), 0.95)
            _shine(sketch, (x, at - 0.004, x + 0.01, at + 0.004), colour, 0.9, light)


def _platform(sketch: Sketch, foot: float, near: Rgb, neon: list[Rgb], light: Picture) -> Ground:
    """A polished deck that mirrors the city, with lines of light towards the horizon."""
    canvas, air = sketch.canvas, sketch.air
    paint_lake(sketch, foot, 1.0)
    deck = air.lit(mix(near, rgb("#6c7490"), 0.35))
    rows = canvas.rows((air.lit(near, 0.3), deck), foot, 1.0)
    canvas.fill(canvas.below(np.full(canvas.width, foot, np.float32)), rows, 0.6)
    colour, pen, at = choose(sketch.rng, neon), canvas.pen(), sketch.between(0.35, 0.65)
    for side in (-1, 1):
        x = at + side * sketch.between(0.35, 0.6)
        pen.polygon(
            0,
            0,
            [
                ((at + 0.05 * side) * canvas.wide, foot * canvas.tall),
                ((x - 0.012) * canvas.wide, 1.02 * canvas.tall),
                ((x + 0.012) * canvas.wide, 1.02 * canvas.tall),
            ],
        )
    mask = pen.mask()
    canvas.fill(mask, mix(colour, rgb("#ffffff"), 0.2), 0.8)
    light += mask[..., None] * colour * np.float32(0.6)
    _shine(sketch, (0, foot - 0.004, 1, foot + 0.006), colour, 0.7, light)
    return Ground(foot + 0.05, 0.97, "ground")


def _water(sketch: Sketch, foot: float, near: Rgb, neon: list[Rgb], light: Picture) -> Ground:
    """A harbour that mirrors the lights."""
    paint_lake(sketch, foot, 1.0)
    _shine(sketch, (0, foot - 0.006, 1, foot + 0.004), choose(sketch.rng, neon), 0.5, light)
    return Ground(foot + 0.08, 0.96, "water surface")
