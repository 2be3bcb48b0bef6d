"""A modern city: towers in layers, its windows lit by night, over water, a park or a square."""

import numpy as np

from flux1.training.mini.world.places.colours import choose, mix, palette, rgb
from flux1.training.mini.world.places.land import hill_line, meadow, round_tree, shaded
from flux1.training.mini.world.places.rays import paint_rays
from flux1.training.mini.world.places.setting import Ground
from flux1.training.mini.world.places.sketch import Sketch
from flux1.training.mini.world.places.sky import paint_sky
from flux1.training.mini.world.places.towers import (
    paint_towers,
    paint_windows,
    skyline,
    skyline_rise,
)
from flux1.training.mini.world.places.water import paint_lake

_FACADES = (
    ("#8fa4bc", "#b4c0cc", "#6f88a8", "#a8b8c4"),
    ("#c4ac94", "#a88c7c", "#d8c4ac", "#8f8494"),
    ("#6f94a8", "#94b0b8", "#5c7c94", "#b8c8c8"),
    ("#a894a8", "#8c7c9c", "#c4b0b8", "#7c849c"),
    ("#b8a090", "#8ca0b0", "#c8b8a4", "#788ca4"),
)


def paint_city(sketch: Sketch) -> tuple[Ground, ...]:
    """Three rows of towers, paler with distance, the sun's light between them."""
    canvas, colours = sketch.canvas, palette(sketch.rng, _FACADES)
    foot = sketch.between(0.68, 0.84)
    paint_sky(sketch, foot - 0.06, rise=0.26)
    if sketch.air.dark:
        canvas.glow(0.5, foot, 0.8 * canvas.wide, sketch.air.light_of_town, 0.3, 0.3)
    light, rise = np.zeros_like(canvas.pixels), skyline_rise(sketch)
    far = skyline(sketch, foot, sketch.between(0.38, 0.58), 0.07, colours, rise)
    paint_towers(sketch, far, 0.62, foot)
    paint_rays(sketch, foot - 0.1, 0.5)
    middle = skyline(sketch, foot, sketch.between(0.32, 0.5), 0.1, colours, rise)
    paint_towers(sketch, middle, 0.34, foot)
    if sketch.air.dark or sketch.chance(0.6):
        paint_windows(sketch, middle, foot, 0.4, light)
    dark = [colour * np.float32(0.8) for colour in colours]
    near = skyline(sketch, foot, sketch.between(0.2, 0.36), 0.14, dark, rise)
    paint_towers(sketch, near, 0.08, foot)
    paint_windows(sketch, near, foot, 0.05, light)
    if light.any():
        canvas.bloom(light, 0.018, 0.8)
    front = choose(sketch.rng, (_shore, _park, _square))(sketch, foot)
    return front, Ground(0.06, 0.4, "sky")


def _shore(sketch: Sketch, foot: float) -> Ground:
    """A quay, and the river that mirrors the towers."""
    canvas, air = sketch.canvas, sketch.air
    paint_lake(sketch, foot, 1.0)
    canvas.box(0, foot - 0.012, 1, foot + 0.008, air.lit(rgb("#5c6478"), 0.1))
    return Ground(foot + 0.08, 0.96, "water surface")


def _park(sketch: Sketch, foot: float) -> Ground:
    """Trees and a lawn."""
    canvas, air = sketch.canvas, sketch.air
    green, pen = rgb(choose(sketch.rng, ("#4c9450", "#3f8a5c", "#6fa044"))), sketch.canvas.pen()
    for _ in range(round(7 * canvas.wide)):
        x, size = sketch.between(0, 1), sketch.between(0.08, 0.17)
        round_tree(pen, x, foot + 0.015, size, list(sketch.rng.uniform(0, 1, 5)))
    tree = air.white(shaded(green, 0.3), 0.6)
    canvas.fill(pen.mask(), air.lit(tree, 0.05))
    line = hill_line(sketch, foot, 0.012, 0.7)
    meadow(sketch, line, air.white(mix(green, rgb("#b4d46c"), 0.5)), air.white(green))
    return Ground(foot + 0.05, 0.97, "ground")


def _square(sketch: Sketch, foot: float) -> Ground:
    """A paved square with a line of light at its far edge, wet in the rain."""
    canvas, air = sketch.canvas, sketch.air
    stone = air.white(rgb(choose(sketch.rng, ("#8c909c", "#a49c94", "#747c8c"))), 0.8)
    line = np.full(canvas.width, foot, np.float32)
    meadow(sketch, line, stone * 0.9, stone * 1.05)
    if air.weather.name in ("rain", "storm") or air.light.name == "neon":
        paint_lake(sketch, foot, 1.0)
    canvas.box(0, foot, 1, foot + 0.014, air.lit(stone * 1.2, 0.1))
    return Ground(foot + 0.05, 0.97, "ground")
