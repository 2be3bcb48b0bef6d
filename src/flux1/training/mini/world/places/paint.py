"""Paints a setting as a picture."""

import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from flux1.training.mini.world.places.air import make_air
from flux1.training.mini.world.places.canvas import Canvas
from flux1.training.mini.world.places.colours import BACKGROUND_COLOURS, rgb
from flux1.training.mini.world.places.lights import LIGHTS
from flux1.training.mini.world.places.setting import Backdrop, Lighting, Setting
from flux1.training.mini.world.places.sketch import Sketch
from flux1.training.mini.world.places.table import PLACES, combinations
from flux1.training.mini.world.places.weathers import WEATHERS


def backdrop(setting: Setting, width: int, height: int) -> Backdrop:
    """Paint what lies behind the things; the same setting and size give the same bytes. Raises
    ValueError for what is no place, light, weather or colour, or does not go together."""
    _check(setting)
    air = make_air(_chance(setting, "air"), setting.light, setting.weather)
    rng = _chance(setting, "place")
    sketch = Sketch(Canvas(width, height), air, rng, setting.colours)
    grounds = PLACES[setting.place].paint(sketch)
    pixels, light = sketch.canvas.pixels, air.lighting()
    if rng.random() < 0.5:
        pixels, light = np.ascontiguousarray(pixels[:, ::-1]), _mirrored(light)
    return Backdrop(np.clip(pixels, 0, 1), grounds, light)


def in_front(setting: Setting, pixels: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """The finished scene with what lies before it: rain, snow or fog, and the dark corners of
    candle light."""
    height, width = pixels.shape[:2]
    canvas = Canvas(width, height)
    canvas.pixels[:] = pixels
    light, weather = LIGHTS[setting.light], WEATHERS[setting.weather]
    shine = rgb(light.things) * np.float32(min(1.0, 0.45 + light.ambient) * weather.dim)
    weather.before(canvas, _chance(setting, "front"), shine)
    if light.corners:
        _darken_corners(canvas, light.corners)
    return canvas.pixels


def _darken_corners(canvas: Canvas, strength: float) -> None:
    """Let the light fall off towards the corners, as that of a candle does."""
    x, y = 2 * canvas.x[None] - 1, 2 * canvas.y[:, None] - 1
    canvas.pixels *= (1 - np.float32(strength) * (x * x + y * y) / 2)[..., None]


def _chance(setting: Setting, part: str) -> np.random.Generator:
    """A part's own stream of chance: the same place by day and by night keeps its shape."""
    names = {
        "air": setting.light + setting.weather,
        "place": setting.place,
        "front": setting.weather,
    }
    return np.random.default_rng([setting.seed, zlib.crc32(f"{part} {names[part]}".encode())])


def _mirrored(light: Lighting) -> Lighting:
    other = {"left": "right", "right": "left", "above": "above"}
    return replace(light, direction=other[light.direction])


def _check(setting: Setting) -> None:
    _known("place", setting.place, PLACES)
    _known("light", setting.light, LIGHTS)
    _known("weather", setting.weather, WEATHERS)
    for colour in setting.colours:
        _known("colour", colour, BACKGROUND_COLOURS)
    if (setting.light, setting.weather) not in tuple(combinations(setting.place)):
        fitting = ", ".join(
            f"{light} and {weather}" for light, weather in combinations(setting.place)
        )
        raise ValueError(
            f"{setting.place}: {setting.light} and {setting.weather} do not go together here; "
            f"these do: {fitting}"
        )
    fewest, most = PLACES[setting.place].colours
    if not fewest <= len(setting.colours) <= most:
        raise ValueError(
            f"{setting.place} takes {fewest} to {most} colours, not {len(setting.colours)}"
        )


def _known(kind: str, name: str, rows: Mapping[str, object]) -> None:
    if name not in rows:
        raise ValueError(f"no {kind} {name!r}; there are {', '.join(rows)}")
