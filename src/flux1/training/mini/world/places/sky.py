"""Skies: gradient, sun or moon, stars, clouds, rainbow and lightning."""

import numpy as np

from flux1.training.mini.world.places.colours import Rgb, mix, rgb
from flux1.training.mini.world.places.sketch import Sketch

_BOW = ("#e8483c", "#f59a36", "#f7df4a", "#58b860", "#4a90e0", "#8a5cc8")


def paint_sky(sketch: Sketch, horizon: float, clouds: bool = True, rise: float = 0.0) -> None:
    """Fill the canvas with the sky of the setting; `horizon` is where the land begins. Painters
    put the land over its lower part. `rise` (in heights of the picture) is how far towers or trees
    will stand above the horizon: a low sun stands among their tops, not behind their feet."""
    canvas, air = sketch.canvas, sketch.air
    canvas.pixels[:] = canvas.rows(air.sky, 0, max(horizon, 0.3))
    if not air.hidden:
        _stars(sketch, horizon)
        _BODIES[air.light.body](sketch, horizon, rise)
    if air.weather.name == "rainbow":
        _rainbow(sketch, horizon)
    if air.weather.name == "storm":
        _storm(sketch, horizon)
    elif clouds and air.weather.name != "fog":
        _clouds(sketch, horizon)


def _stars(sketch: Sketch, horizon: float) -> None:
    canvas = sketch.canvas
    for _ in range(round(sketch.air.light.stars * horizon * canvas.wide * canvas.tall * 1.3)):
        x, y = sketch.between(0, 1), sketch.between(0, horizon)
        size = 0.0045 + 0.004 * sketch.between(0, 1) ** 3
        canvas.disc(x, y, size, rgb("#fff8e6"), sketch.between(0.55, 1), 1.4)


def _sun(sketch: Sketch, horizon: float, rise: float) -> None:
    """A high sun: in a third of all days in the picture, else outside of it."""
    if sketch.chance(0.4):
        x, y = sketch.air.sun_x, sketch.between(0.1, 0.3) * horizon + 0.02
        r = sketch.between(0.05, 0.075)
        sketch.canvas.glow(x, y, 3.2 * r, rgb("#fff3c4"), 0.55)
        sketch.canvas.disc(x, y, r, rgb("#fff6cf"))


def _low_sun(sketch: Sketch, horizon: float, rise: float) -> None:
    """A large sun near the horizon, and the warm light around it."""
    canvas, air = sketch.canvas, sketch.air
    r = sketch.between(0.075, 0.125)
    y = horizon - sketch.between(-0.3, 1.6) * r / canvas.tall - rise * sketch.between(0.4, 1)
    canvas.glow(air.sun_x, y, 0.75, air.glow, 0.4, 0.4)
    canvas.glow(air.sun_x, y, 2.4 * r, rgb("#ffe9a8"), 0.55)
    canvas.disc(air.sun_x, y, r, mix(rgb("#fff0b4"), air.glow, 0.25))


def _moon(sketch: Sketch, horizon: float, rise: float) -> None:
    canvas, r = sketch.canvas, sketch.between(0.06, 0.1)
    x, y = sketch.air.sun_x, sketch.between(0.18, 0.5) * horizon
    canvas.glow(x, y, 3.4 * r, rgb("#c6d8ff"), 0.5)
    canvas.disc(x, y, r, rgb("#f8f4dc"))
    for dx, dy, size in ((-0.3, -0.25, 0.26), (0.35, 0.1, 0.2), (-0.1, 0.42, 0.16)):
        at = x + dx * r / canvas.wide, y + dy * r / canvas.tall
        canvas.disc(*at, size * r, rgb("#e2dcc0"), 0.8, 1.5)


def _no_body(sketch: Sketch, horizon: float, rise: float) -> None:
    """Nothing shines in this sky; a moon may, in some nights."""
    if sketch.air.light.stars and sketch.chance(0.35):
        _moon(sketch, horizon, rise)


_BODIES = {"sun": _sun, "low sun": _low_sun, "moon": _moon, None: _no_body}


def cloud_colours(sketch: Sketch) -> tuple[Rgb, Rgb]:
    """Colours of a cloud: its lit top and its shaded base."""
    air = sketch.air
    bright = mix(rgb("#ffffff") * air.tint, air.glow, 0.3 if air.light.body == "low sun" else 0)
    top = mix(bright, air.sky[1], 0.08 if air.light.ambient > 0.8 else 0.45)
    top = mix(top, air.sky[1] * np.float32(0.85), 0.7 * air.weather.overcast)
    return top, mix(top, air.sky[1], 0.55)


def _clouds(sketch: Sketch, horizon: float) -> None:
    """None, a few puffs, or long bands of cloud."""
    count = sketch.several(3, 5) if sketch.air.hidden else sketch.several(0, 4)
    night = sketch.air.light.ambient < 0.6
    form = _puff if sketch.chance(0.6) and not night else _band
    for _ in range(count):
        form(sketch, sketch.between(0, 1), sketch.between(0.12, 0.75) * horizon)


def _puff(sketch: Sketch, x: float, y: float) -> None:
    """A cloud of a few round heaps over a flat base, shaded towards the base."""
    canvas, size = sketch.canvas, sketch.between(0.1, 0.2)
    pen, base = canvas.pen(), y + 0.22 * size / canvas.tall
    for i in range(4):
        at = (i - 1.5) / 1.5
        r = size * sketch.between(0.3, 0.42) * (1.25 - 0.6 * abs(at))
        pen.ellipse(x + at * 0.62 * size / canvas.wide, base - 0.55 * r / canvas.tall, r, r)
    mask = pen.mask() * (canvas.y < base)[:, None]
    top, shade = cloud_colours(sketch)
    rows = canvas.rows((top, top, shade), y - 0.5 * size / canvas.tall, base)
    canvas.fill(mask, rows, 0.9)


def _band(sketch: Sketch, x: float, y: float) -> None:
    """Long soft streaks, as in the evening."""
    top, _ = cloud_colours(sketch)
    opacity = 0.5 if sketch.air.light.ambient > 0.6 else 0.22
    for _ in range(2):
        rx = sketch.between(0.2, 0.5)
        at = x + sketch.between(-0.1, 0.1), y + sketch.between(-0.02, 0.02)
        sketch.canvas.ellipse(*at, rx, rx * sketch.between(0.035, 0.07), top, opacity, 5.0)


def _rainbow(sketch: Sketch, horizon: float) -> None:
    """An arc of six soft colours, its centre at the horizon."""
    canvas = sketch.canvas
    x, y = sketch.between(0.25, 0.75), horizon + sketch.between(0, 0.15)
    outer, wide = sketch.between(0.48, 0.62), sketch.between(0.075, 0.1)
    away = np.hypot(
        (canvas.x - np.float32(x))[None] * canvas.wide,
        (canvas.y - np.float32(y))[:, None] * canvas.tall,
    )
    across = (outer - away) / wide
    stops = (np.arange(6) + 0.5) / 6
    bow = np.stack([np.interp(across, stops, [rgb(c)[i] for c in _BOW]) for i in range(3)], -1)
    mask = np.clip(across / 0.12, 0, 1) * np.clip((1 - across) / 0.12, 0, 1)
    canvas.fill(mask.astype(np.float32), bow.astype(np.float32), 0.72)


def _storm(sketch: Sketch, horizon: float) -> None:
    """Heavy clouds under the zenith and a flash of lightning."""
    canvas, air = sketch.canvas, sketch.air
    dark = mix(air.sky[0] * 0.55, rgb("#161a2a"), 0.3)
    for i in range(7):
        x, r = (i + sketch.between(0, 1)) / 7, sketch.between(0.15, 0.26)
        y = sketch.between(-0.02, 0.14)
        canvas.ellipse(x, y, r, 0.6 * r, mix(dark, air.sky[1], sketch.between(0, 0.5)), 0.9, 8.0)
    _lightning(sketch, sketch.between(0.15, 0.85), horizon)


def _lightning(sketch: Sketch, x: float, horizon: float) -> None:
    canvas, top = sketch.canvas, 0.12
    points = [(x, top)]
    for i in range(1, 7):
        step = sketch.between(-0.05, 0.05) + (0.03 if i % 2 else -0.03)
        points.append((points[-1][0] + step, top + (horizon - top) * i / 6))
    canvas.glow(x, (top + horizon) / 2, 0.22, rgb("#cfd8ff"), 0.4, 0.35)
    pen = canvas.pen()
    pen.line(points, 0.014)
    fork = points[3]
    pen.line([fork, (fork[0] + 0.07, fork[1] + 0.1), (fork[0] + 0.06, fork[1] + 0.18)], 0.009)
    canvas.fill(pen.mask(), rgb("#fffbe0"))
