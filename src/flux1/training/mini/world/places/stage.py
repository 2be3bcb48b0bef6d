"""A stage: curtains in folds, boards, one or two spotlights."""

import numpy as np

from flux1.training.mini.world.places.colours import Rgb, choose, mix, rgb, varied
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch

_CURTAINS = ("#b8283c", "#8c2448", "#2c4c9c", "#5c2c8c", "#1f6c5c", "#c4682c")
_BOARDS = ("#8c5c3c", "#6c4838", "#a8744c")


def paint_stage(sketch: Sketch) -> tuple[Ground, ...]:
    """A curtain behind, boards before it, and light from above where things will stand."""
    canvas, line = sketch.canvas, sketch.between(0.64, 0.74)
    cloth = varied(sketch.rng, rgb(choose(sketch.rng, _CURTAINS)))
    _curtain(sketch, cloth)
    wood = rgb(choose(sketch.rng, _BOARDS))
    floor = canvas.below(np.full(canvas.width, line, np.float32))
    canvas.fill(floor, canvas.rows((wood * 0.45, wood * 0.8), line, 1.0))
    canvas.box(0, line - 0.012, 1, line, wood * 0.3)
    middle = sketch.between(0.4, 0.6)
    for x in (middle,) if sketch.chance(0.6) else (middle - 0.18, middle + 0.18):
        _spotlight(sketch, x, line + 0.55 * (1 - line))
    return (Ground(line + 0.08, 0.95, "floor"),)


def _curtain(sketch: Sketch, cloth: Rgb) -> None:
    """Folds of cloth, darker towards the sides."""
    canvas = sketch.canvas
    phase = canvas.x * np.float32(canvas.wide * sketch.between(38, 60)) + sketch.between(0, 6.283)
    fold = 0.66 + 0.22 * np.sin(phase + 0.7 * np.sin(0.31 * phase))
    side = 1 - 0.5 * np.abs(2 * canvas.x - 1) ** 2
    canvas.pixels[:] = cloth * (fold * side)[None, :, None].astype(np.float32)


def _spotlight(sketch: Sketch, x: float, y: float) -> None:
    """A cone of light, and its pool on the boards."""
    canvas, pen, warm = sketch.canvas, sketch.canvas.pen(), rgb("#fff2cc")
    lean, wide = sketch.between(-0.2, 0.2), sketch.between(0.24, 0.34)
    down = (y + 0.05) * canvas.tall
    top = [(lean + 0.04, -down), (lean - 0.04, -down)]
    pen.polygon(x, y, [(-wide, 0), (wide, 0), *top])
    canvas.fill(pen.mask(), warm, sketch.between(0.16, 0.24))
    canvas.ellipse(x, y, wide, 0.26 * wide, mix(warm, rgb("#ffffff"), 0.3), 0.4, 6.0)
