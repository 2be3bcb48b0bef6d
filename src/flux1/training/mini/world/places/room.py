"""A room: wall and floor, a window on the sky outside, pictures, a rug, candles."""

import numpy as np

from flux1.training.mini.world.places.canvas import Canvas
from flux1.training.mini.world.places.colours import Rgb, choose, mix, palette, rgb
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch

# Wall, floor, skirting and frames, rug and curtains.
ROOMS = (
    ("#ecd4b4", "#a8764c", "#fff8ec", "#c85c4c"),
    ("#b8d0c8", "#b88c5c", "#f8f8f0", "#4c7c84"),
    ("#d8c4dc", "#9c7058", "#fff6f4", "#8c5c9c"),
    ("#f0c8b0", "#8c5c44", "#fff4e4", "#3c6c8c"),
    ("#a8bcd4", "#c09868", "#ffffff", "#e0a448"),
    ("#5c7c84", "#9c6c48", "#f0e4cc", "#d8844c"),
    ("#c8d0a4", "#94683c", "#fffaec", "#6c8c4c"),
)


def paint_room(sketch: Sketch) -> tuple[Ground, ...]:
    """Wall, floor, and what is in a living room."""
    wall, floor, white, cloth = palette(sketch.rng, ROOMS)
    line = sketch.between(0.62, 0.74)
    _wall(sketch, wall, white, line)
    _floor(sketch, floor, line)
    side = sketch.chance(0.5)
    at = sketch.between(0.2, 0.34) if side else sketch.between(0.66, 0.8)
    if sketch.chance(0.85):
        _window(sketch, at, sketch.between(0.1, 0.16), white, cloth)
    if sketch.chance(0.8):
        _pictures(sketch, 0.2 if at > 0.5 else 0.8, white)
    if sketch.chance(0.55):
        _rug(sketch, line, cloth)
    if sketch.air.light.name == "candle light":
        paint_candles(sketch, line)
    return Ground(line + 0.08, 0.97, "floor"), Ground(0.1, line - 0.2, "wall")


def indoors(sketch: Sketch, colour: Rgb) -> Rgb:
    """A surface's colour in the room: rooms are lit softly, even by night."""
    return colour * mix(sketch.air.tint, rgb("#ffffff"), 0.35)


def _wall(sketch: Sketch, wall: Rgb, white: Rgb, line: float) -> None:
    """Plain, striped, or panelled below."""
    canvas = sketch.canvas
    wall, white = indoors(sketch, wall), indoors(sketch, white)
    canvas.pixels[:] = canvas.rows((wall * 1.03, wall * 0.94), 0, line).clip(0, 1)
    kind = sketch.several(0, 3)
    if kind == 0:
        count = round(7 * canvas.wide)
        for i in range(count):
            canvas.box(i / count, 0, (i + 0.5) / count, line, wall * np.float32(0.95), 0.8)
    if kind == 1:
        canvas.box(0, line - 0.22, 1, line, mix(wall, white, 0.6))
        canvas.box(0, line - 0.235, 1, line - 0.215, white)
    canvas.box(0, line - 0.035, 1, line, white)


def _floor(sketch: Sketch, floor: Rgb, line: float) -> None:
    """Boards that run towards the viewer, or a carpet."""
    canvas, colour = sketch.canvas, indoors(sketch, floor)
    mask = canvas.below(np.full(canvas.width, line, np.float32))
    canvas.fill(mask, canvas.rows((colour * 0.86, colour), line, 1.0))
    if sketch.chance(0.6):
        pen, at = canvas.pen(), sketch.between(0.4, 0.6)
        for i in range(-6, 7):
            top, foot = at + 0.15 * i, at + 0.27 * i
            pen.line([(top, line), (foot, 1.02)], 0.008)
        canvas.fill(pen.mask() * mask, colour * np.float32(0.74), 0.8)


def _window(sketch: Sketch, x: float, y: float, white: Rgb, cloth: Rgb) -> None:
    """A window with the sky of the hour behind it, curtains beside it in most rooms."""
    canvas, air = sketch.canvas, sketch.air
    half, tall = sketch.between(0.12, 0.17) / canvas.wide, sketch.between(0.3, 0.38)
    frame = indoors(sketch, white)
    canvas.box(x - half - 0.018, y - 0.018, x + half + 0.018, y + tall + 0.03, frame)
    view = Canvas(max(8, round(2 * half * canvas.width)), max(8, round(tall * canvas.height)))
    view.pixels[:] = view.rows(air.sky, 0, 1.1)
    _view(sketch, view)
    top, left = round(y * canvas.height), round((x - half) * canvas.width)
    part = canvas.pixels[top : top + view.height, max(left, 0) : left + view.width]
    part[:] = view.pixels[: part.shape[0], view.width - part.shape[1] :]
    canvas.box(x - 0.009 / canvas.wide, y, x + 0.009 / canvas.wide, y + tall, frame)
    if sketch.chance(0.5):
        canvas.box(x - half, y + 0.45 * tall, x + half, y + 0.45 * tall + 0.016, frame)
    if sketch.chance(0.6):
        _curtains(sketch, x, y, half, tall, indoors(sketch, cloth))


def _view(sketch: Sketch, view: Canvas) -> None:
    """Paint what is seen through the window: the sun or the moon, and a hill."""
    air = sketch.air
    if air.light.body and not air.hidden:
        x, y = sketch.between(0.2, 0.8), sketch.between(0.2, 0.4)
        view.glow(x, y, 0.35, air.glow, 0.5)
        view.disc(x, y, 0.13, mix(rgb("#fff8dc"), air.glow, 0.2))
    if air.light.stars:
        view.disc(sketch.between(0.25, 0.75), sketch.between(0.2, 0.4), 0.1, rgb("#f4f0d8"))
    hill = (0.78 + 0.06 * np.sin(view.x * 5 + sketch.between(0, 6))).astype(np.float32)
    view.fill(view.below(hill), air.lit(air.white(rgb("#6fa464")), 0.25))


def _curtains(sketch: Sketch, x: float, y: float, half: float, tall: float, cloth: Rgb) -> None:
    canvas, top = sketch.canvas, y - 0.05
    wide, low = 0.075 / canvas.wide, y + tall + 0.07
    for left in (x - half - 0.045 / canvas.wide - wide * 0.4, x + half - wide * 0.35):
        for fold in range(3):
            a = left + wide * fold / 3
            canvas.box(
                a, top, a + wide / 3 + 0.002, low, cloth * np.float32((1.0, 0.88, 0.95)[fold])
            )
    canvas.box(
        x - half - 0.1 / canvas.wide,
        top - 0.014,
        x + half + 0.1 / canvas.wide,
        top,
        cloth * np.float32(0.5),
    )


def _pictures(sketch: Sketch, x: float, white: Rgb) -> None:
    """One or two framed pictures of plain shapes."""
    canvas = sketch.canvas
    count = sketch.several(1, 2)
    for i in range(count):
        half, tall = sketch.between(0.055, 0.14 / count), sketch.between(0.12, 0.2)
        at, y = x + (0.21 * i - 0.105) * (count - 1), sketch.between(0.14, 0.22)
        half /= canvas.wide
        wood = indoors(
            sketch, rgb(choose(sketch.rng, ("#5c4030", "#f8f4ec", "#c8984c", "#303440")))
        )
        canvas.box(at - half - 0.014, y - 0.014, at + half + 0.014, y + tall + 0.014, wood)
        sky, land = palette(
            sketch.rng, (("#a8d4e8", "#5c9c6c"), ("#f4c890", "#c8685c"), ("#f4e8d4", "#4c84a8"))
        )
        canvas.box(at - half, y, at + half, y + tall, indoors(sketch, sky))
        canvas.box(at - half, y + 0.62 * tall, at + half, y + tall, indoors(sketch, land))
        canvas.disc(at, y + 0.36 * tall, 0.022, indoors(sketch, white))


def _rug(sketch: Sketch, line: float, cloth: Rgb) -> None:
    canvas, y = sketch.canvas, line + 0.6 * (1 - line)
    x, wide = sketch.between(0.4, 0.6), sketch.between(0.3, 0.42)
    colour = indoors(sketch, cloth)
    for share, tone in ((1.0, 1.0), (0.84, 1.25), (0.72, 0.95)):
        tall = wide * 0.32 * share * canvas.tall
        canvas.ellipse(
            x, y, wide * share * canvas.wide, tall, np.clip(colour * np.float32(tone), 0, 1)
        )


def paint_candles(sketch: Sketch, line: float) -> None:
    """Dark corners, and one to three candles with their light."""
    canvas = sketch.canvas
    x0 = sketch.between(0.12, 0.3) if sketch.chance(0.5) else sketch.between(0.7, 0.88)
    away = np.hypot(
        (canvas.x - np.float32(x0))[None] * canvas.wide,
        (canvas.y - np.float32(line - 0.1))[:, None] * canvas.tall,
    )
    canvas.pixels *= np.clip(1.1 * np.exp(-away / 0.75), 0.16, 1)[..., None].astype(np.float32)
    for i in range(sketch.several(1, 3)):
        x, tall = x0 + (i - 1) * 0.07 / canvas.wide, sketch.between(0.1, 0.18)
        foot = line + 0.06
        canvas.box(
            x - 0.02 / canvas.wide, foot - tall, x + 0.02 / canvas.wide, foot, rgb("#f4dcb0")
        )
        canvas.glow(x, foot - tall - 0.03, 0.24, rgb("#ffa840"), 0.45)
        canvas.ellipse(x, foot - tall - 0.03, 0.014, 0.03, rgb("#ffd060"))
        canvas.ellipse(x, foot - tall - 0.024, 0.008, 0.018, rgb("#fff6d0"))
