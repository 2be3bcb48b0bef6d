"""A street: house fronts, a pavement with lamps and trees, the road."""

import numpy as np

from flux1.training.mini.world.places.canvas import Box
from flux1.training.mini.world.places.colours import Rgb, choose, mix, palette, rgb
from flux1.training.mini.world.places.land import round_tree, shaded
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch
from flux1.training.mini.world.places.sky import paint_sky
from flux1.training.mini.world.places.towers import Picture
from flux1.training.mini.world.places.water import paint_lake

_HOUSES = (
    ("#e8a87c", "#f0d0a0", "#8fb4b0", "#d88c84", "#c8b8d4"),
    ("#b8604c", "#d4a484", "#8c5c50", "#c8b09c", "#a87864"),
    ("#8fc4d8", "#f4dca0", "#f0a8a0", "#a8d4b0", "#d4b8e0"),
    ("#9ca8b8", "#c4c8cc", "#7c90a4", "#b4a89c", "#d8d0c4"),
)
_AWNINGS = ("#d84c4c", "#3c8cb8", "#4ca46c", "#e8a43c", "#8c5cb4")
_NEON = ("#ff4cb4", "#3ce4ff", "#ffd04c", "#8c6cff", "#4cffb0")


def paint_street(sketch: Sketch) -> tuple[Ground, ...]:
    """House fronts side by side, their windows lit in the dark; pavement, kerb and road."""
    canvas, colours = sketch.canvas, palette(sketch.rng, _HOUSES)
    foot = sketch.between(0.6, 0.68)
    kerb = foot + sketch.between(0.1, 0.14)
    paint_sky(sketch, foot - 0.2)
    light, x = np.zeros_like(canvas.pixels), -sketch.between(0, 0.15)
    while x < 1:
        wide = sketch.between(0.2, 0.34) / canvas.wide
        _house(sketch, x, x + wide, foot, choose(sketch.rng, colours), light)
        x += wide
    _pavement(sketch, foot, kerb)
    _road(sketch, kerb)
    if light.any():
        canvas.bloom(light, 0.03, 0.7)
    _furniture(sketch, foot + 0.5 * (kerb - foot), light)
    return (
        Ground(kerb + 0.06, 0.97, "road"),
        Ground(foot + 0.03, kerb, "ground"),
        Ground(0.04, 0.2, "sky"),
    )


def _house(
    sketch: Sketch, left: float, right: float, foot: float, colour: Rgb, light: Picture
) -> None:
    """One house: wall, roof, two or three floors of windows, a door or a shop."""
    canvas, air = sketch.canvas, sketch.air
    floors = sketch.several(2, 3)
    top = foot - (0.15 * floors + sketch.between(0.04, 0.1))
    wall = air.lit(colour, 0.06)
    canvas.box(left, top, right, foot, wall)
    _roof(sketch, left, right, top, colour)
    columns, bars = 2 if (right - left) * canvas.wide < 0.3 else 3, sketch.chance(0.35)
    for floor in range(1, floors):
        for i in range(columns):
            x = left + (right - left) * (i + 0.5) / columns
            _window(sketch, x, foot - 0.15 * floor - 0.105, colour, light, bars)
    (_shop if sketch.chance(0.5) else _door)(sketch, left, right, foot, colour, light)
    canvas.box(right - 0.006 / canvas.wide, top, right, foot, wall * np.float32(0.8))


def _roof(sketch: Sketch, left: float, right: float, top: float, colour: Rgb) -> None:
    canvas, air = sketch.canvas, sketch.air
    roof = air.lit(
        air.white(rgb(choose(sketch.rng, ("#8c4c3c", "#5c5468", "#a85c44", "#4c5c70")))), 0.06
    )
    if sketch.chance(0.5):
        pen, half = canvas.pen(), (right - left) / 2 * canvas.wide
        pen.polygon(
            (left + right) / 2, top, [(-half - 0.012, 0.004), (0, -0.14), (half + 0.012, 0.004)]
        )
        canvas.fill(pen.mask(), roof)
    else:
        canvas.box(
            left - 0.01, top - 0.022, right + 0.006, top, air.lit(air.white(colour * 0.75), 0.06)
        )


def _window(sketch: Sketch, x: float, y: float, colour: Rgb, light: Picture, bars: bool) -> None:
    """A window with a white frame, its lamp on or off in the dark."""
    canvas, air = sketch.canvas, sketch.air
    half, tall = 0.034 / canvas.wide, 0.088
    frame = air.lit(mix(colour, rgb("#fffaf0"), 0.7), 0.06)
    canvas.box(x - 1.3 * half, y - 0.01, x + 1.3 * half, y + tall + 0.012, frame)
    on = (air.dark or air.light.body == "low sun") and sketch.chance(0.6 if air.dark else 0.3)
    pane = rgb("#ffcf78") if on else air.lit(mix(rgb("#5c84a4"), air.sky[0], 0.4), 0.05)
    _lamp(sketch, (x - half, y, x + half, y + tall), pane, light if on else None)
    if bars:
        canvas.box(x - 0.006 / canvas.wide, y, x + 0.006 / canvas.wide, y + tall, frame)


def _lamp(sketch: Sketch, box: Box, colour: Rgb, light: Picture | None) -> None:
    canvas = sketch.canvas
    canvas.box(*box, colour)
    if light is not None:
        xs = [max(0, round(v * canvas.width)) for v in (box[0], box[2])]
        ys = [max(0, round(v * canvas.height)) for v in (box[1], box[3])]
        light[ys[0] : ys[1], xs[0] : xs[1]] = colour


def _door(
    sketch: Sketch, left: float, right: float, foot: float, colour: Rgb, light: Picture
) -> None:
    """A door and a window beside it."""
    canvas, air = sketch.canvas, sketch.air
    x, half = left + (right - left) * 0.32, 0.035 / canvas.wide
    paint = rgb(choose(sketch.rng, ("#5c3c30", "#2f5c6c", "#8c3434", "#3c5c44")))
    canvas.box(x - half * 1.2, foot - 0.125, x + half * 1.2, foot, air.lit(colour * 0.8, 0.05))
    canvas.box(x - half, foot - 0.115, x + half, foot, air.lit(paint, 0.03))
    _window(sketch, left + (right - left) * 0.72, foot - 0.115, colour, light, False)


def _shop(
    sketch: Sketch, left: float, right: float, foot: float, colour: Rgb, light: Picture
) -> None:
    """A shop window under a striped awning, or under a neon sign."""
    canvas, air = sketch.canvas, sketch.air
    a, b = left + 0.12 * (right - left), right - 0.12 * (right - left)
    pane = rgb("#ffd890") if air.dark else air.lit(mix(rgb("#6c94ac"), air.sky[1], 0.4), 0.05)
    _lamp(sketch, (a, foot - 0.105, b, foot - 0.02), pane, light if air.dark else None)
    if air.light.name == "neon":
        sign = rgb(choose(sketch.rng, _NEON))
        _lamp(sketch, (a, foot - 0.145, b, foot - 0.125), sign, light)
        return
    paint, white = air.lit(rgb(choose(sketch.rng, _AWNINGS)), 0.03), air.lit(rgb("#fff6ea"), 0.03)
    for i in range(6):
        x0, x1 = a + (b - a) * i / 6, a + (b - a) * (i + 1) / 6
        canvas.box(x0, foot - 0.145, x1, foot - 0.095, (paint, white)[i % 2])


def _pavement(sketch: Sketch, foot: float, kerb: float) -> None:
    canvas, air = sketch.canvas, sketch.air
    stone = air.white(rgb(choose(sketch.rng, ("#c4bcb0", "#b0b4bc", "#c8b8a0"))))
    rows = canvas.rows((air.lit(stone * 0.9, 0.06), air.lit(stone)), foot, kerb)
    canvas.fill(canvas.below(np.full(canvas.width, foot, np.float32)), rows)


def _road(sketch: Sketch, kerb: float) -> None:
    """Asphalt with a broken white line; it mirrors the street where it is wet."""
    canvas, air = sketch.canvas, sketch.air
    tar = air.white(rgb(choose(sketch.rng, ("#5c606c", "#6c6870", "#505664"))), 0.8)
    rows = canvas.rows((air.lit(tar * 0.92, 0.04), air.lit(tar)), kerb, 1.0)
    canvas.fill(canvas.below(np.full(canvas.width, kerb, np.float32)), rows)
    if air.weather.name in ("rain", "storm") or air.light.name == "neon":
        paint_lake(sketch, kerb, 1.0)
        canvas.fill(canvas.below(np.full(canvas.width, kerb, np.float32)), rows, 0.35)
    canvas.box(0, kerb - 0.008, 1, kerb + 0.012, air.lit(rgb("#d8d4cc")))
    y, count = kerb + 0.5 * (1 - kerb), round(3 * canvas.wide)
    start = sketch.between(-0.3, 0)
    for i in range(count + 1):
        x = start + i / count
        canvas.box(x, y, x + 0.5 / count, y + 0.022, air.lit(rgb("#f0ece0")), 0.85)


def _furniture(sketch: Sketch, y: float, light: Picture) -> None:
    """Lamps, and in some seeds a tree or two, on the pavement."""
    canvas, air = sketch.canvas, sketch.air
    metal = air.lit(rgb("#3c4450"))
    start = sketch.between(0.08, 0.4)
    for i in range(sketch.several(0, 2) + (2 if canvas.wide > 1.3 else 0)):
        x, top = start + 0.48 * i, y - 0.42
        canvas.box(x - 0.008 / canvas.wide, top, x + 0.008 / canvas.wide, y, metal)
        lamp = rgb("#ffe4a0") if air.dark else air.lit(rgb("#f4f0e0"))
        canvas.ellipse(x, top, 0.028, 0.028, lamp)
        if air.dark:
            canvas.glow(x, top, 0.13, rgb("#ffd070"), 0.6)
    if sketch.chance(0.35):
        x, size = sketch.between(0.1, 0.9), sketch.between(0.3, 0.4)
        pen, trunk = canvas.pen(), canvas.pen()
        round_tree(pen, x, y, size, list(sketch.rng.uniform(0, 1, 5)))
        trunk.polygon(x, y, [(-0.014, 0), (0.014, 0), (0.006, -0.5 * size), (-0.006, -0.5 * size)])
        canvas.fill(trunk.mask(), air.lit(rgb("#6c4c38")))
        green = air.white(rgb(choose(sketch.rng, ("#5c9c54", "#7cac4c", "#d8943c"))), 0.7)
        rows = canvas.rows((air.lit(green), air.lit(shaded(green, 0.4))), y - size / canvas.tall, y)
        canvas.fill(pen.mask(), rows)
