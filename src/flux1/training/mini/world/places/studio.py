"""Backgrounds that are no place: one colour, a gradient, and four patterns."""

import numpy as np

from flux1.training.mini.world.places.canvas import Mask
from flux1.training.mini.world.places.colours import (
    BACKGROUND_COLOURS,
    Rgb,
    choose,
    mix,
    rgb,
    varied,
)
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch

_ANYWHERE = (Ground(0.0, 1.0, "air"),)
_WHITE = rgb("#ffffff")


def _named(sketch: Sketch, at: int) -> Rgb:
    return varied(sketch.rng, rgb(choose(sketch.rng, BACKGROUND_COLOURS[sketch.colours[at]])), 0.02)


def _second(sketch: Sketch, first: Rgb) -> Rgb:
    """The second colour of a pattern: the named one, or a lighter or darker shade of the first."""
    if len(sketch.colours) > 1:
        return _named(sketch, 1)
    light = float(first.mean()) < 0.8
    return mix(first, _WHITE, sketch.between(0.25, 0.5)) if light else first * np.float32(0.86)


def paint_plain(sketch: Sketch) -> tuple[Ground, ...]:
    """One colour; in half of the seeds a little lighter in the middle, as a studio is."""
    colour, canvas = _named(sketch, 0), sketch.canvas
    canvas.pixels[:] = colour
    if sketch.chance(0.5):
        canvas.glow(0.5, sketch.between(0.4, 0.55), 0.75, _WHITE, sketch.between(0.06, 0.16))
    return _ANYWHERE


def paint_gradient(sketch: Sketch) -> tuple[Ground, ...]:
    """Two colours that run into each other: down, across, aslant, or out of the middle;
    mixed as light is (squares of the values), so that the middle does not turn grey."""
    canvas, first, last = sketch.canvas, _named(sketch, 0), _named(sketch, 1)
    x, y = canvas.x[None, :, None], canvas.y[:, None, None]
    if sketch.chance(0.25):
        away = np.hypot((x - 0.5) * canvas.wide, (y - sketch.between(0.4, 0.6)) * canvas.tall)
        run = np.clip(away / 0.75, 0, 1)
    else:
        turn = choose(sketch.rng, (0.0, 0.25, 0.5, 0.75)) * np.pi
        along = (x - 0.5) * np.float32(np.cos(turn)) + (y - 0.5) * np.float32(np.sin(turn))
        run = np.clip(along / (abs(np.cos(turn)) + abs(np.sin(turn))) + 0.5, 0, 1)
    canvas.pixels[:] = np.sqrt(first**2 + (last**2 - first**2) * run.astype(np.float32))
    return _ANYWHERE


def _wave(sketch: Sketch, along: np.ndarray, period: float) -> np.ndarray:
    """Stripes of 0 and 1 with edges smooth over a pixel; `along` in shorter sides."""
    phase = np.abs((along / period + sketch.between(0, 1)) % 1 - 0.5)
    return np.clip((phase - 0.25) * period * sketch.canvas.unit + 0.5, 0, 1)


def _sides(sketch: Sketch) -> tuple[np.ndarray, np.ndarray]:
    canvas = sketch.canvas
    return canvas.x[None] * np.float32(canvas.wide), canvas.y[:, None] * np.float32(canvas.tall)


def _pattern(sketch: Sketch, mask: Mask) -> tuple[Ground, ...]:
    first = _named(sketch, 0)
    sketch.canvas.pixels[:] = first
    full = np.broadcast_to(mask, sketch.canvas.pixels.shape[:2]).astype(np.float32)
    sketch.canvas.fill(full, _second(sketch, first))
    return _ANYWHERE


def paint_stripes(sketch: Sketch) -> tuple[Ground, ...]:
    """Stripes: upright, level or aslant."""
    x, y = _sides(sketch)
    turn = choose(sketch.rng, (0.0, 0.25, 0.5, 0.75)) * np.pi
    along = x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))
    return _pattern(sketch, _wave(sketch, along, sketch.between(0.14, 0.34)))


def paint_checks(sketch: Sketch) -> tuple[Ground, ...]:
    """A chessboard."""
    (x, y), period = _sides(sketch), sketch.between(0.22, 0.42)
    across, down = _wave(sketch, x, period), _wave(sketch, y, period)
    return _pattern(sketch, across + down - 2 * across * down)


def paint_dots(sketch: Sketch) -> tuple[Ground, ...]:
    """Polka dots, every other row moved by half a step."""
    (x, y), period = _sides(sketch), sketch.between(0.14, 0.26)
    u, v = x / period + sketch.between(0, 1), y / period + sketch.between(0, 1)
    u = u + 0.5 * (np.floor(v) % 2)
    away = np.hypot(u % 1 - 0.5, v % 1 - 0.5) * period
    return _pattern(
        sketch,
        np.clip((period * sketch.between(0.22, 0.32) - away) * sketch.canvas.unit + 0.5, 0, 1),
    )


_PAPER = ("#f25c6e", "#f7b731", "#4cb5f5", "#5cc97a", "#a66cf0", "#ff8fc0")


def paint_confetti(sketch: Sketch) -> tuple[Ground, ...]:
    """Scraps of coloured paper over one colour, none too small to be seen."""
    canvas = sketch.canvas
    canvas.pixels[:] = _named(sketch, 0)
    for code in _PAPER:
        pen = canvas.pen()
        for _ in range(round(7 * canvas.wide * canvas.tall)):
            turn, size = sketch.between(0, 3.14), sketch.between(0.014, 0.024)
            a = np.array([np.cos(turn), np.sin(turn)]) * size
            b = np.array([-a[1], a[0]]) * 0.5
            corners = [tuple(c) for c in (a + b, a - b, -a - b, b - a)]
            pen.polygon(sketch.between(0, 1), sketch.between(0, 1), corners)
        canvas.fill(pen.mask(), rgb(code))
    return _ANYWHERE
