"""A table top before a wall, as for a still life."""

import numpy as np

from flux1.training.mini.world.places.colours import Rgb, choose, mix, palette, rgb
from flux1.training.mini.world.places.room import ROOMS, indoors, paint_candles
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch

_WOODS = (
    ("#b07c4c", "#8c5c38"),
    ("#8c5c40", "#6c4430"),
    ("#d4ac7c", "#b48c5c"),
    ("#e8e0d4", "#c8bcac"),
)


def paint_table(sketch: Sketch) -> tuple[Ground, ...]:
    """Boards or a cloth, a wall with soft lights or the light of a window on it."""
    canvas, line = sketch.canvas, sketch.between(0.56, 0.68)
    wall, _, _, cloth = palette(sketch.rng, ROOMS)
    wall = indoors(sketch, mix(wall, cloth, sketch.between(0, 0.6)))
    canvas.pixels[:] = canvas.rows((wall * 0.84, wall), 0, line)
    if sketch.air.light.name != "candle light":
        choose(sketch.rng, (_soft_lights, _window_light, _shelf))(sketch, line)
    (_cloth if sketch.chance(0.35) else _boards)(sketch, line, cloth)
    if sketch.air.light.name == "candle light":
        paint_candles(sketch, line)
    return (Ground(line + 0.06, 0.93, "table"),)


def _soft_lights(sketch: Sketch, line: float) -> None:
    """Lamps far behind, out of focus."""
    warm = mix(sketch.air.glow, rgb("#ffffff"), 0.5)
    for _ in range(round(sketch.several(4, 9) * sketch.canvas.wide)):
        at = sketch.between(0, 1), sketch.between(0.05, line - 0.06)
        r, strength = sketch.between(0.03, 0.09), sketch.between(0.1, 0.28)
        sketch.canvas.disc(*at, r, warm, strength, 4.0)


def _window_light(sketch: Sketch, line: float) -> None:
    """Slanted panes of light that a window throws on the wall."""
    canvas, pen, lean = sketch.canvas, sketch.canvas.pen(), sketch.between(-0.25, 0.25)
    x, wide, tall = sketch.between(0.2, 0.6), sketch.between(0.16, 0.22), sketch.between(0.16, 0.2)
    for column in range(2):
        for row in range(2):
            a, b = column * (wide + 0.025), row * (tall + 0.025)
            corners = ((a, b), (a + wide, b), (a + wide, b + tall), (a, b + tall))
            pen.polygon(x, 0.08, [(p + lean * q, q) for p, q in corners])
    wall = canvas.y < line
    warm = mix(sketch.air.glow, rgb("#ffffff"), 0.3)
    canvas.fill(pen.mask() * wall[:, None], warm, 0.38)


def _shelf(sketch: Sketch, line: float) -> None:
    """A board on the wall, with pots and books on it."""
    canvas, y = sketch.canvas, sketch.between(0.26, 0.36)
    canvas.box(0, y, 1, y + 0.022, indoors(sketch, rgb("#8c6444")))
    canvas.box(0, y + 0.022, 1, y + 0.034, canvas.pixels[round(y * canvas.height) - 2, 0] * 0.8)
    x = sketch.between(0.02, 0.1)
    while x < 0.95:
        wide, tall = sketch.between(0.04, 0.09) / canvas.wide, sketch.between(0.08, 0.16)
        ware = rgb(choose(sketch.rng, ("#c86c54", "#5c8ca8", "#e8d8b8", "#7ca06c", "#d8a44c")))
        canvas.box(x, y - tall, x + wide, y, indoors(sketch, ware))
        x += wide + sketch.between(0.0, 0.16)


def _boards(sketch: Sketch, line: float, cloth: Rgb) -> None:
    canvas = sketch.canvas
    top, edge = (indoors(sketch, wood) for wood in palette(sketch.rng, _WOODS))
    mask = canvas.below(np.full(canvas.width, line, np.float32))
    canvas.fill(mask, canvas.rows((top * 0.9, np.clip(top * 1.06, 0, 1)), line, 0.95))
    for i in range(1, 4):
        y = line + (0.95 - line) * (i / 4) ** 1.3
        canvas.box(0, y, 1, y + 0.008, top * np.float32(0.84), 0.7)
    canvas.box(0, 0.95, 1, 1, edge)


def _cloth(sketch: Sketch, line: float, cloth: Rgb) -> None:
    """A cloth with broad stripes that run towards the viewer, or a plain one with a hem."""
    canvas, at = sketch.canvas, sketch.between(0.4, 0.6)
    base = indoors(sketch, mix(cloth, rgb("#fff8ee"), choose(sketch.rng, (0.0, 0.75))))
    wall = canvas.pixels[max(0, round(line * canvas.height) - 3), 0]
    if abs(float(base.mean() - wall.mean())) < 0.15:
        base = base * np.float32(0.7)
    mask = canvas.below(np.full(canvas.width, line, np.float32))
    canvas.fill(mask, canvas.rows((base * 0.88, base), line, 0.95))
    if sketch.chance(0.5):
        pen, ink = canvas.pen(), indoors(sketch, mix(cloth, rgb("#ffffff"), 0.25))
        for i in range(-5, 6):
            far, near = at + 0.17 * i, at + 0.3 * i
            corners = ((far, line), (far + 0.085, line), (near + 0.15, 1.01), (near, 1.01))
            pen.polygon(0, 0, [(a * pen.wide, b * pen.tall) for a, b in corners])
        canvas.fill(pen.mask() * mask, ink, 0.75)
    canvas.box(0, 0.945, 1, 0.965, base * np.float32(0.7))
