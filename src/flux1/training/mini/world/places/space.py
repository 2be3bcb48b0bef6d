"""Space: stars, nebulae, planets with and without rings, in some seeds the ground of a moon."""

import numpy as np

from flux1.training.mini.world.places.canvas import Canvas
from flux1.training.mini.world.places.colours import Rgb, choose, mix, palette, rgb
from flux1.training.mini.world.places.land import hill_line
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch

# Upper and lower dark, two colours of nebula.
_PALETTES = (
    ("#070a24", "#141040", "#6c3cb0", "#2c6cc0"),
    ("#050818", "#0c1a3c", "#1f7fa8", "#6c4cc8"),
    ("#0c0620", "#24103c", "#c0407c", "#5c3cc0"),
    ("#060c1c", "#102030", "#2c9c8c", "#3c5cb0"),
    ("#0a0a14", "#1c1830", "#c46c3c", "#8c3c8c"),
)
_PLANETS = ("#e0885c", "#5ca4e0", "#c48ce0", "#e0c46c", "#6cc4a4", "#e06c7c", "#b4a494")


def paint_space(sketch: Sketch) -> tuple[Ground, ...]:
    """Dark, a nebula in most seeds, stars, none to three planets."""
    canvas = sketch.canvas
    top, bottom, one, two = palette(sketch.rng, _PALETTES)
    canvas.pixels[:] = canvas.rows((top, bottom))
    if sketch.chance(0.75):
        _nebula(sketch, one, two)
    for _ in range(round(34 * canvas.wide * canvas.tall)):
        size = 0.0045 + 0.005 * sketch.between(0, 1) ** 4
        at = sketch.between(0, 1), sketch.between(0, 1)
        canvas.disc(*at, size, rgb("#fff6e4"), sketch.between(0.5, 1), 1.4)
    _planets(sketch, 0.85)
    return (Ground(0.04, 0.96, "space"),)


def paint_moon(sketch: Sketch) -> tuple[Ground, ...]:
    """The ground of a moon under the sky of space."""
    paint_space(sketch)
    return _moon_ground(sketch), Ground(0.05, 0.6, "space")


def _planets(sketch: Sketch, low: float) -> None:
    """None to three planets, apart from each other, the first the largest."""
    taken: list[tuple[float, float, float]] = []
    for i in range(sketch.several(0, 3)):
        x, y = sketch.between(0.05, 0.95), sketch.between(0.08, low)
        r = sketch.between(0.05, 0.2) * (1 - 0.25 * i)
        if all(np.hypot(x - a, y - b) > 2.1 * max(r, c) + min(r, c) for a, b, c in taken):
            taken.append((x, y, r))
            _planet(sketch, x, y, r)


def _nebula(sketch: Sketch, one: Rgb, two: Rgb) -> None:
    """Clouds of light along a slanted band."""
    slope, start = sketch.between(-0.5, 0.5), sketch.between(0.3, 0.7)
    for i in range(7):
        x = (i + sketch.between(0, 1)) / 7
        y = start + slope * (x - 0.5) + sketch.between(-0.1, 0.1)
        size = sketch.between(0.16, 0.3)
        sketch.canvas.glow(
            x, y, size, mix(one, two, sketch.between(0, 1)), sketch.between(0.4, 0.75), 0.7 * size
        )


def _planet(sketch: Sketch, x: float, y: float, r: float) -> None:
    canvas, colour = sketch.canvas, rgb(choose(sketch.rng, _PLANETS))
    ring = sketch.chance(0.35)
    if ring:
        _ring(canvas, x, y, r, mix(colour, rgb("#fff0d0"), 0.5), behind=True)
    canvas.glow(x, y, 1.35 * r, colour, 0.35)
    _ball(sketch, x, y, r, colour)
    if ring:
        _ring(canvas, x, y, r, mix(colour, rgb("#fff0d0"), 0.5), behind=False)


def _ball(sketch: Sketch, x: float, y: float, r: float, colour: Rgb) -> None:
    """A shaded ball with soft bands across, lit from the upper left."""
    canvas, size = sketch.canvas, r * sketch.canvas.unit
    part, dx, dy = canvas._around(x, y, size + 1, size + 1)
    away = np.sqrt(dx**2 + dy**2)
    deep = np.sqrt(np.clip(1 - (away / size) ** 2, 0, 1))
    light = np.clip(0.25 + 0.85 * (-0.5 * dx / size - 0.55 * dy / size + 0.67 * deep), 0.12, 1)
    bands = 1 + 0.16 * np.sin((dy + 0.25 * dx) / size * sketch.between(3, 8) + sketch.between(0, 6))
    mask = np.clip(size - away + 0.5, 0, 1)[..., None]
    part += mask * (np.clip(colour * (light * bands)[..., None], 0, 1) - part)


def _ring(canvas: Canvas, x: float, y: float, r: float, colour: Rgb, behind: bool) -> None:
    """A flat ring; its near half is drawn after the ball."""
    wide, flat = 2.0 * r * canvas.unit, 0.5 * r * canvas.unit
    part, dx, dy = canvas._around(x, y, wide + 1, flat + 1)
    away = np.hypot(dx / wide, dy / flat)
    mask = np.clip((1 - away) * flat, 0, 1) * np.clip((away - 0.72) * flat, 0, 1)
    mask = mask * ((dy < 0) if behind else (dy >= 0))
    part += 0.85 * mask[..., None] * (colour - part)


def _moon_ground(sketch: Sketch) -> Ground:
    """Grey hills with a few craters at the foot of the picture."""
    canvas, front = sketch.canvas, sketch.between(0.74, 0.82)
    grey = mix(rgb("#a8acb8"), rgb(choose(sketch.rng, _PLANETS)), sketch.between(0, 0.35))
    canvas.fill(canvas.below(hill_line(sketch, front - 0.05, 0.035, 1.2)), grey * 0.5)
    line = hill_line(sketch, front, 0.02, 0.7)
    canvas.fill(canvas.below(line), canvas.rows((grey * 0.95, grey * 0.68), front, 1.0))
    for _ in range(sketch.several(2, 4)):
        x, y, wide = (
            sketch.between(0, 1),
            sketch.between(front + 0.06, 0.97),
            sketch.between(0.04, 0.1),
        )
        canvas.ellipse(x, y, wide, 0.3 * wide, grey * 0.55)
        canvas.ellipse(x, y + 0.012, 0.9 * wide, 0.25 * wide, grey * 0.7)
    return Ground(front + 0.06, 0.97, "ground")
