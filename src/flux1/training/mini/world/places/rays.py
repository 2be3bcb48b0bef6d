"""Volumetric light: beams that fan out from a low sun or a bright place on the horizon."""

import numpy as np

from flux1.training.mini.world.places.colours import mix, rgb
from flux1.training.mini.world.places.sketch import Sketch


def paint_rays(sketch: Sketch, y: float, strength: float) -> None:
    """Lay a warm veil and soft beams over what is painted so far, out of the light at a height."""
    canvas, air = sketch.canvas, sketch.air
    if air.hidden or air.light.body != "low sun":
        return
    dx = (canvas.x - np.float32(air.sun_x))[None] * np.float32(canvas.wide)
    dy = (canvas.y - np.float32(y))[:, None] * np.float32(canvas.tall)
    turn, away = np.arctan2(dy, dx), np.hypot(dx, dy)
    a, b = sketch.between(0, 6.283), sketch.between(0, 6.283)
    beams = np.clip(np.sin(9 * turn + a) + 0.6 * np.sin(17 * turn + b), 0, 1) * (away > 0)
    fall = np.exp(-away / 0.42)
    veil = strength * air.light.beams * fall * (0.55 + 0.45 * beams * np.clip(away / 0.2, 0, 1))
    canvas.fill(veil.astype(np.float32), mix(air.glow, rgb("#fff0c8"), 0.35))
