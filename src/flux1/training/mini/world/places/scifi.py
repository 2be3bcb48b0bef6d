"""A city of the future: towers in strange forms, neon, flying lights, haze."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flux1.training.mini.world.places.canvas import Box
from flux1.training.mini.world.places.colours import Rgb, choose, mix, palette, rgb
from flux1.training.mini.world.places.rays import paint_rays
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch
from flux1.training.mini.world.places.sky import paint_sky
from flux1.training.mini.world.places.spires import FORMS
from flux1.training.mini.world.places.towers import Picture, skyline_rise
from flux1.training.mini.world.places.water import paint_lake

# Far towers, near towers, and three colours of neon.
_PALETTES = (
    ("#5c6cac", "#2c3468", "#3ce8ff", "#ff4cc8", "#ffd84c"),
    ("#7c5ca4", "#38245c", "#ff5c9c", "#5cd8ff", "#a47cff"),
    ("#4c88a0", "#1c3c54", "#4cffd8", "#5ca8ff", "#ff8c4c"),
    ("#8c6484", "#3c2848", "#ffb03c", "#ff5c6c", "#6ce0ff"),
    ("#6474b4", "#242c54", "#8c7cff", "#4cf0e0", "#ff6cb4"),
)


@dataclass(frozen=True)
class _Town:
    """The state that all strokes of one city share: its sketch, where it stands, its colours,
    the picture of its lamps, and the rise of its skyline (a number for each x)."""

    sketch: Sketch
    foot: float
    far: Rgb
    near: Rgb
    neon: tuple[Rgb, ...]
    lamps: Picture
    rise: Callable[[float], float]

    def shine(self, box: Box, colour: Rgb, strong: float) -> None:
        """A lamp's tube: a bright box, and the light that it sheds."""
        canvas = self.sketch.canvas
        canvas.box(*box, mix(colour, rgb("#ffffff"), 0.25), strong)
        xs = [max(0, round(at * canvas.width)) for at in (box[0], box[2])]
        ys = [max(0, round(at * canvas.height)) for at in (box[1], box[3])]
        self.lamps[ys[0] : ys[1], xs[0] : xs[1]] = colour * np.float32(strong)


def paint_scifi_city(sketch: Sketch) -> tuple[Ground, ...]:
    """Three ranks of towers, the nearest with neon, over a shining deck or a dark water."""
    canvas, dark, foot = sketch.canvas, sketch.air.dark, sketch.between(0.7, 0.84)
    far, near, *neon = palette(sketch.rng, _PALETTES)
    lamps = np.zeros_like(canvas.pixels)
    town = _Town(sketch, foot, far, near, tuple(neon), lamps, skyline_rise(sketch))
    paint_sky(sketch, foot - 0.08, clouds=sketch.chance(0.4), rise=0.3)
    if sketch.chance(0.3):
        _great_moon(sketch, foot)
    if dark:
        canvas.glow(0.5, foot, 0.8 * canvas.wide, mix(neon[0], sketch.air.glow, 0.4), 0.3, 0.3)
    _rank(town, 0.6, 0.06, ())
    paint_rays(sketch, foot - 0.12, 0.55)
    _rank(town, 0.34, 0.09, town.neon if dark else ())
    _fliers(town)
    _rank(town, 0.05, 0.13, town.neon)
    front = choose(sketch.rng, (_deck, _deck, _harbour))(town)
    canvas.bloom(lamps, 0.028, 1.1 if dark else 0.7)
    return front, Ground(0.06, 0.42, "sky")


def _great_moon(sketch: Sketch, foot: float) -> None:
    """A planet, huge and pale, behind the towers."""
    canvas, air = sketch.canvas, sketch.air
    x, y, r = 1 - air.sun_x, sketch.between(0.15, 0.4) * foot, sketch.between(0.14, 0.24)
    pale = mix(air.sky[1], mix(air.glow, rgb("#ffffff"), 0.4), 0.4)
    shade, soft = mix(pale, air.sky[0], 0.3), 0.3 * r * canvas.unit
    canvas.disc(x, y, r, pale, 0.8)
    canvas.disc(x + 0.22 * r, y - 0.12 * r, 0.86 * r, shade, 0.4, soft)


def _rank(town: _Town, distance: float, wide: float, neon: Sequence[Rgb]) -> None:
    """One rank of towers: their shapes and shaded sides first, then the lights on them."""
    sketch, canvas, foot = town.sketch, town.sketch.canvas, town.foot
    body, side, towers = canvas.pen(), canvas.pen(), []
    count = round(0.66 / wide * canvas.wide)
    for i in range(count):
        x, half = (i + sketch.between(0.1, 0.9)) / count, 0.5 * wide * sketch.between(0.6, 1.2)
        size = sketch.between(0.22, 0.6 if distance > 0.1 else 0.48) * town.rise(x) * canvas.tall
        choose(sketch.rng, FORMS)(body, x, foot + 0.02, half, size)
        edge = 0.25 * half
        side.polygon(x, foot + 0.02, [(edge, 0), (half, 0), (half, -size), (edge, -size)])
        towers.append((x, half, size))
    _fill_rank(town, distance, body.mask(), side.mask())
    for tower in towers if neon else ():
        _neon(town, *tower, choose(sketch.rng, neon), distance)


def _fill_rank(town: _Town, distance: float, body: np.ndarray, side: np.ndarray) -> None:
    canvas, air = town.sketch.canvas, town.sketch.air
    colour = mix(town.near, town.far, min(1.0, 1.6 * distance))
    low = air.lit(colour, min(1.0, 1.3 * distance + 0.2))
    rows = canvas.rows((air.lit(colour, distance), low), town.foot - 0.5, town.foot)
    canvas.fill(body, rows)
    canvas.fill(body * side, rows * np.float32(0.8), 0.8)


def _neon(town: _Town, x: float, half: float, size: float, colour: Rgb, distance: float) -> None:
    """A line of neon up the tower, or rows of lit windows across it."""
    sketch, canvas, foot = town.sketch, town.sketch.canvas, town.foot
    strong = (1 if sketch.air.dark else 0.75) * (1 - 0.9 * distance)
    up = size / canvas.tall
    if sketch.chance(0.5):
        low, high = sketch.between(0.05, 0.3), sketch.between(0.55, 0.8)
        at, edge = x + sketch.between(-0.3, 0.1) * half / canvas.wide, 0.006 / canvas.wide
        town.shine((at - edge, foot - high * up, at + edge, foot - low * up), colour, strong)
        return
    for i in range(sketch.several(3, 6)):
        y, inner = foot - (0.1 + 0.1 * i) * up, 0.5 * half * sketch.between(0.5, 1) / canvas.wide
        town.shine((x - inner, y, x + inner, y + 0.011 / canvas.tall), colour, strong)


def _fliers(town: _Town) -> None:
    """Flying cars: a bright head and a fading trail, in one or two lanes."""
    sketch, canvas = town.sketch, town.sketch.canvas
    for _ in range(sketch.several(1, 2)):
        y, slope = sketch.between(0.25, 0.55), sketch.between(-0.12, 0.12)
        colour = choose(sketch.rng, town.neon)
        for _ in range(round(sketch.several(2, 4) * canvas.wide)):
            x = sketch.between(0.02, 0.95)
            at = y + slope * x
            canvas.ellipse(x - 0.028, at, 0.032, 0.005, colour, 0.5, 1.5)
            canvas.ellipse(x, at, 0.011, 0.008, rgb("#ffffff"), 0.95)
            town.shine((x, at - 0.004, x + 0.01, at + 0.004), colour, 0.9)


def _deck(town: _Town) -> Ground:
    """A polished deck that mirrors the city, with lines of light towards the horizon."""
    sketch, canvas, foot = town.sketch, town.sketch.canvas, town.foot
    paint_lake(sketch, foot, 1.0)
    colour = sketch.air.lit(mix(town.near, rgb("#6c7490"), 0.35))
    rows = canvas.rows((sketch.air.lit(town.near, 0.3), colour), foot, 1.0)
    canvas.fill(canvas.below(np.full(canvas.width, foot, np.float32)), rows, 0.55)
    neon, pen, at = choose(sketch.rng, town.neon), canvas.pen(), sketch.between(0.35, 0.65)
    for side in (-1, 1):
        x = at + side * sketch.between(0.35, 0.6)
        corners = ((at + 0.05 * side, foot), (x - 0.012, 1.02), (x + 0.012, 1.02))
        pen.polygon(0, 0, [(a * canvas.wide, b * canvas.tall) for a, b in corners])
    mask = pen.mask()
    canvas.fill(mask, mix(neon, rgb("#ffffff"), 0.2), 0.8)
    town.lamps[:] = np.maximum(town.lamps, mask[..., None] * neon * np.float32(0.6))
    town.shine((0, foot - 0.004, 1, foot + 0.006), neon, 0.7)
    return Ground(foot + 0.04, 0.97, "ground")


def _harbour(town: _Town) -> Ground:
    """Water that mirrors the lights."""
    foot = town.foot
    paint_lake(town.sketch, foot, 1.0)
    town.shine((0, foot - 0.006, 1, foot + 0.004), choose(town.sketch.rng, town.neon), 0.5)
    return Ground(foot + 0.05, 0.96, "water surface")
