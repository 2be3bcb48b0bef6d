"""Water: lakes and seas that mirror the sky, waves, and the sun's path on them."""

import numpy as np

from flux1.training.mini.world.places.colours import Rgb, mix, rgb
from flux1.training.mini.world.places.sketch import Sketch


def paint_lake(sketch: Sketch, top: float, bottom: float) -> None:
    """Still water between two heights: what stands above it, mirrored, smeared downwards as wet
    ground and ripples do, and darkened."""
    canvas, air = sketch.canvas, sketch.air
    first, last = round(top * canvas.height), round(bottom * canvas.height)
    deep = air.lit(rgb("#2f6f9c"), 0.25)
    rows = canvas.rows((mix(air.sky[-1], deep, 0.35), deep), top, max(bottom, top + 0.15))
    count = min(last + 8, canvas.height) - first
    smear = max(2, round(0.045 * canvas.unit))
    above = canvas.pixels[max(0, first - count - smear) : first][::-1]
    above = np.concatenate([np.repeat(above[:1], smear, 0), above, np.repeat(above[-1:], smear, 0)])
    sums = np.cumsum(above, axis=0, dtype=np.float32)
    mirrored = (sums[smear : smear + count] - sums[:count]) / np.float32(smear)
    canvas.pixels[first : first + count] = mix(mirrored, rows[first : first + count], 0.4)


def paint_sea(sketch: Sketch, top: float, colour: Rgb, shallow: Rgb | None = None) -> None:
    """Open water from its horizon down to the foot of the picture, `shallow` at the foot."""
    canvas, air = sketch.canvas, sketch.air
    mirror = 0.35 if air.light.name == "day" else 0.7
    near = air.lit(shallow if shallow is not None else colour * np.float32(0.8))
    colours = (
        mix(air.lit(colour, 0.2), air.sky[-1], mirror + 0.1),
        mix(air.lit(colour, 0.05), air.sky[1], 0.7 * mirror),
        mix(near, air.sky[0], 0.6 * mirror),
    )
    rows = canvas.rows(colours, top, 1.0)
    mask = np.clip((canvas.y - np.float32(top)) * canvas.height + 0.5, 0, 1)
    canvas.fill(mask[:, None] * np.ones_like(canvas.x)[None], rows)
    _waves(sketch, top)
    _sun_path(sketch, top)


def _waves(sketch: Sketch, top: float) -> None:
    """Soft bands, broader towards the viewer, and a few bright crests."""
    canvas, air = sketch.canvas, sketch.air
    near = np.clip((canvas.y - np.float32(top)) / (1 - top), 0, 1)
    swell = np.sin(canvas.x * canvas.wide * sketch.between(4, 9) + sketch.between(0, 6.283))
    phase = (16 * near**0.6 * (1 - top))[:, None] * 2.2 + 0.5 * swell[None] * near[:, None]
    bright = mix(air.sky[-1], rgb("#ffffff") * air.tint, 0.5)
    mask = np.clip(np.sin(phase + sketch.between(0, 6.283)), 0, 1) * (near**0.5)[:, None]
    canvas.fill(mask.astype(np.float32), bright, 0.13)
    for _ in range(sketch.several(4, 9)):
        at = sketch.between(0.08, 1) ** 1.2
        wide = 0.03 + 0.1 * at * sketch.between(0.5, 1)
        y = top + at * (1 - top)
        canvas.ellipse(sketch.between(0, 1), y, wide, 0.05 * wide + 0.003, bright, 0.4, 1.5)


def _sun_path(sketch: Sketch, top: float) -> None:
    """The broken mirror of a low sun or moon: strokes that grow broader towards the viewer."""
    air, canvas = sketch.air, sketch.canvas
    if air.hidden or air.light.body not in ("low sun", "moon"):
        return
    colour = mix(air.glow, rgb("#fff4cc"), 0.4)
    canvas.glow(air.sun_x, top + 0.04, 0.3, air.glow, 0.3, 0.1)
    for i in range(11):
        at = (i + 0.3) / 11
        y, wide = top + at**1.3 * (1 - top) * 0.9, sketch.between(0.5, 1) * (0.045 + 0.06 * at)
        x = air.sun_x + sketch.between(-0.02, 0.02) * (1 + at)
        canvas.ellipse(x, y, wide, 0.004 + 0.007 * at, colour, 0.75 * (1 - 0.6 * at), 1.5)
