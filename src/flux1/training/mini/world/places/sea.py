"""The open sea, the beach, and the world under water."""

import numpy as np

from flux1.training.mini.world.places.canvas import Pen
from flux1.training.mini.world.places.colours import Rgb, choose, mix, palette, rgb
from flux1.training.mini.world.places.land import hill_line, layer
from flux1.training.mini.world.places.lines import rolling
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch
from flux1.training.mini.world.places.sky import paint_sky
from flux1.training.mini.world.places.water import paint_sea

_SEAS = ("#2a7fb8", "#1f6fa8", "#2b95b4", "#2f86c8", "#1d7f9c")
_SANDS = (("#f0d9a0", "#dcb878"), ("#f4e2b8", "#e6c990"), ("#eccf9c", "#d0a468"))


def paint_open_sea(sketch: Sketch) -> tuple[Ground, ...]:
    """Water up to a high or a low horizon, an island behind in a third of the seeds."""
    horizon = sketch.between(0.38, 0.66)
    paint_sky(sketch, horizon)
    if sketch.chance(0.35):
        _island(sketch, horizon)
    paint_sea(sketch, horizon, rgb(choose(sketch.rng, _SEAS)))
    sky = Ground(0.06, horizon - 0.1, "sky")
    return Ground(horizon + 0.1, 0.95, "water surface"), sky


def _island(sketch: Sketch, horizon: float) -> None:
    canvas, at = sketch.canvas, sketch.between(0, 1)
    away = (canvas.x - np.float32(at)) / sketch.between(0.12, 0.3)
    bump = np.exp(-(away**2)) * sketch.between(0.04, 0.1)
    line = horizon + 0.01 - bump * (1 + 0.25 * rolling(sketch.rng, canvas.x, 3.0))
    layer(sketch, line.astype(np.float32), rgb("#5f8a7c"), 0.45)


def paint_beach(sketch: Sketch) -> tuple[Ground, ...]:
    """Sea and sand, the shore slanted or curved, white foam where they meet."""
    canvas, air = sketch.canvas, sketch.air
    horizon, shore = sketch.between(0.36, 0.5), sketch.between(0.62, 0.72)
    paint_sky(sketch, horizon)
    if sketch.chance(0.35):
        _island(sketch, horizon)
    paint_sea(sketch, horizon, rgb(choose(sketch.rng, _SEAS)), rgb("#58c4c4"))
    slant = sketch.between(-0.1, 0.1) * (canvas.x - 0.5)
    curve = 0.025 * rolling(sketch.rng, canvas.x * np.float32(canvas.wide), 0.8, 2)
    line = (shore + slant + curve).astype(np.float32)
    dry, wet = palette(sketch.rng, _SANDS)
    canvas.fill(canvas.below(line - 0.022), air.lit(rgb("#ffffff")), 0.75)
    canvas.fill(canvas.below(line), air.lit(wet))
    rows = canvas.rows((air.lit(mix(dry, wet, 0.3)), air.lit(dry)), shore, 1.0)
    canvas.fill(canvas.below(line + 0.035), rows)
    _shells(sketch, shore)
    ground = Ground(shore + 0.1, 0.97, "ground")
    return (
        ground,
        Ground(horizon + 0.06, shore - 0.06, "water surface"),
        Ground(0.06, horizon - 0.1, "sky"),
    )


def _shells(sketch: Sketch, shore: float) -> None:
    for _ in range(sketch.several(0, 5)):
        x, y = sketch.between(0.03, 0.97), sketch.between(shore + 0.15, 0.98)
        colour = rgb(choose(sketch.rng, ("#fff4e6", "#f4b8a8", "#c89870")))
        sketch.canvas.ellipse(x, y, 0.011, 0.007, sketch.air.lit(colour))


# Near the surface, in the middle, at the bottom, sand.
_DEPTHS = (
    ("#5fd0e0", "#1f8fb8", "#0c3f70", "#c9b88a"),
    ("#46bfd8", "#1670a8", "#0a2c5c", "#8fa89c"),
    ("#7fe0d0", "#2aa0a4", "#0c5468", "#d8c898"),
    ("#3fa8e0", "#1a5fb4", "#0c2468", "#6f8fb0"),
)
_WEEDS = ("#2f8f5c", "#4fa84c", "#1f7a6c", "#8fae3c")
_CORALS = ("#f0707c", "#f79a5c", "#c46cc4", "#f5c04c", "#e85c9c")


def paint_under_water(sketch: Sketch) -> tuple[Ground, ...]:
    """Blue depth, rays from the surface, a sandy floor with weeds and corals, bubbles."""
    canvas = sketch.canvas
    light, middle, deep, sand = palette(sketch.rng, _DEPTHS)
    canvas.pixels[:] = canvas.rows((light, middle, deep), -0.05, 1.0)
    _rays(sketch)
    floor, bare = sketch.between(0.78, 0.9), sketch.chance(0.25)
    if not bare:
        far = hill_line(sketch, floor - 0.07, 0.05, 1.5)
        canvas.fill(canvas.below(far), mix(deep, middle, 0.35))
        line = hill_line(sketch, floor, 0.025, 0.9)
        _plants(sketch, floor)
        rows = canvas.rows((mix(sand, middle, 0.55), mix(sand, deep, 0.3)), floor, 1.0)
        canvas.fill(canvas.below(line), rows)
    _bubbles(sketch)
    water = Ground(0.08, floor - 0.02, "under water")
    return (water,) if bare else (water, Ground(floor + 0.03, 0.97, "ground"))


def _rays(sketch: Sketch) -> None:
    """Shafts of light from above, fading with depth."""
    canvas, pen = sketch.canvas, sketch.canvas.pen()
    lean = sketch.between(-0.35, 0.35)
    for i in range(sketch.several(3, 5)):
        x, wide = 0.25 * i + sketch.between(-0.1, 0.1), sketch.between(0.03, 0.08)
        pen.polygon(
            x, -0.02, [(-wide, 0), (wide, 0), (lean + 2.4 * wide, 0.9), (lean - 2.4 * wide, 0.9)]
        )
    fade = np.clip(1 - canvas.y / 0.8, 0, 1)[:, None]
    canvas.fill(pen.mask() * fade, rgb("#e8fcff"), sketch.between(0.14, 0.24))


def _plants(sketch: Sketch, floor: float) -> None:
    for _ in range(sketch.several(1, 3)):
        colour = mix(rgb(choose(sketch.rng, _WEEDS)), rgb("#0f5478"), 0.25)
        pen, x = (
            sketch.canvas.pen(),
            choose(sketch.rng, (sketch.between(0, 0.3), sketch.between(0.7, 1))),
        )
        for _ in range(3):
            _weed(sketch, pen, x + sketch.between(-0.07, 0.07), floor + 0.05)
        sketch.canvas.fill(pen.mask(), colour)
    for _ in range(sketch.several(0, 3)):
        colour = mix(rgb(choose(sketch.rng, _CORALS)), rgb("#2f6f9c"), 0.2)
        _coral(sketch, sketch.between(0, 1), floor + 0.02, colour)


def _weed(sketch: Sketch, pen: Pen, x: float, y: float) -> None:
    """A ribbon that sways and narrows to its tip."""
    size, sway = sketch.between(0.2, 0.42), sketch.between(2, 4.5)
    phase, up = sketch.between(0, 6.283), np.linspace(0, 1, 12)
    middle = 0.035 * np.sin(phase + sway * up) * (0.3 + up)
    half = 0.016 * (1 - up) ** 0.6
    left = list(zip(middle - half, -size * up, strict=True))
    right = list(zip(middle + half, -size * up, strict=True))[::-1]
    pen.polygon(x, y, [(float(a), float(b)) for a, b in left + right])


def _coral(sketch: Sketch, x: float, y: float, colour: Rgb) -> None:
    """A fan of round branches."""
    pen, size = sketch.canvas.pen(), sketch.between(0.07, 0.13)
    for turn in np.linspace(-1.1, 1.1, 5):
        dx, dy = size * np.sin(turn) / pen.wide, size * np.cos(turn) / pen.tall
        pen.line([(x, y), (x + dx, y - dy)], 0.24 * size)
        pen.ellipse(x + dx, y - dy, 0.14 * size, 0.14 * size)
    sketch.canvas.fill(pen.mask(), colour)


def _bubbles(sketch: Sketch) -> None:
    """A few rising strings of bubbles, each a ring with a highlight."""
    canvas, pale = sketch.canvas, rgb("#d8f6ff")
    for _ in range(sketch.several(1, 3)):
        x, y = sketch.between(0.05, 0.95), sketch.between(0.3, 0.8)
        for i in range(sketch.several(3, 5)):
            r = sketch.between(0.008, 0.02)
            at = x + sketch.between(-0.02, 0.02), y - 0.065 * i / canvas.tall
            canvas.disc(*at, r, pale, 0.35)
            canvas.disc(
                at[0] - 0.3 * r / canvas.wide, at[1] - 0.3 * r / canvas.tall, 0.35 * r, pale, 0.9
            )
