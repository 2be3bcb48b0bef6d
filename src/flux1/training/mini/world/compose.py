"""Pixels of a scene: its drawings, lit by the place, on the place, behind the weather."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from flux1.training.mini.world.colours import RGB, recolour
from flux1.training.mini.world.drawings import Drawings
from flux1.training.mini.world.places import backdrop, in_front
from flux1.training.mini.world.places.setting import STANDING, Backdrop, Lighting, Setting
from flux1.training.mini.world.scenes import Scene, Thing
from flux1.training.mini.world.styles import pixel_art, silhouette

Pixels = Float[np.ndarray, "h w 3"]
Rgba = Float[np.ndarray, "high wide 4"]
INK = (28, 28, 32)  # what a silhouette without a colour is filled with


def compose(
    scene: Scene, drawings: Drawings, width: int, height: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a scene; a pure function of its arguments."""
    place = painted(scene.setting, width, height)
    pixels = place.pixels.copy()
    for thing in sorted(scene.things, key=lambda t: t.layer):
        _put(pixels, thing, drawings, place.light, scene.style)
    pixels = in_front(scene.setting, pixels)
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


@lru_cache(maxsize=2)
def painted(setting: Setting, width: int, height: int) -> Backdrop:
    """The place of a scene; kept for a moment, as things are arranged on it and then drawn."""
    return backdrop(setting, width, height)


def _put(
    pixels: Pixels, thing: Thing, drawings: Drawings, light: Lighting, style: str | None
) -> None:
    height, width = pixels.shape[:2]
    drawn = _drawn(thing, drawings, min(width, height), style)
    left = round(thing.x * width - drawn.shape[1] / 2)
    top = round(thing.y * height - drawn.shape[0] / 2)
    if thing.surface in STANDING:
        _cast_shadow(pixels, left, top, drawn, light)
    _blend(pixels, left, top, _lit(drawn, light))


def _drawn(thing: Thing, drawings: Drawings, unit: int, style: str | None) -> Rgba:
    """The drawing in its colour, style, size and turn: 0..1."""
    rgba = _styled(drawings.named(thing.drawing), thing.colour, style)
    if thing.mirrored:
        rgba = rgba[:, ::-1]
    image = Image.fromarray(np.ascontiguousarray(rgba)).convert("RGBa")  # edges keep their colour
    scale = max(8.0, thing.size * unit) / max(image.size)
    side = (max(2, round(image.width * scale)), max(2, round(image.height * scale)))
    crisp = style == "pixel art"
    image = image.resize(side, Image.Resampling.NEAREST if crisp else Image.Resampling.LANCZOS)
    if thing.turned:
        image = image.rotate(thing.turned, Image.Resampling.BICUBIC, expand=True)
    return np.asarray(image.convert("RGBA"), np.float32) / np.float32(255)


def _styled(
    rgba: UInt8[np.ndarray, "h w 4"], colour: str | None, style: str | None
) -> UInt8[np.ndarray, "tall wide 4"]:
    """The drawing in a colour, and in a style that is made from any drawing."""
    if style == "silhouette":
        return silhouette(rgba, INK if colour is None else RGB[colour])
    if colour is not None:
        rgba = recolour(rgba, colour)
    return pixel_art(rgba) if style == "pixel art" else rgba


def _lit(drawn: Rgba, light: Lighting) -> Rgba:
    """The drawing in the place's light: tinted, a little brighter towards the light."""
    across = np.linspace(1, -1, drawn.shape[1], dtype=np.float32)[None, :, None]
    side = {"left": 0.08, "right": -0.08}.get(light.direction, 0.0)
    tint = np.asarray(light.tint, np.float32)
    colours = drawn[..., :3] * tint * (1 + side * across)
    return np.concatenate([colours, drawn[..., 3:]], axis=-1)


def _cast_shadow(pixels: Pixels, left: int, top: int, drawn: Rgba, light: Lighting) -> None:
    """A soft ellipse under the feet, drawn out away from the light."""
    high, wide = drawn.shape[:2]
    rx, ry = wide * 0.46, max(3.0, wide * 0.085)
    shift = {"left": 0.10, "right": -0.10}.get(light.direction, 0.0) * wide
    pad = int(rx * 0.5) + 6
    box = (int(2 * rx) + 2 * pad, int(2 * ry) + 2 * pad)
    x = np.arange(box[0], dtype=np.float32) - box[0] / 2
    y = np.arange(box[1], dtype=np.float32) - box[1] / 2
    away = (x[None] / rx) ** 2 + (y[:, None] / ry) ** 2
    alpha = np.exp(-1.6 * away**1.5) * np.float32(light.shadow)
    shade = np.empty((box[1], box[0], 4), np.float32)
    shade[..., :3], shade[..., 3] = light.shadow_colour, alpha
    _blend(
        pixels,
        round(left + wide / 2 + shift - box[0] / 2),
        round(top + high - ry * 0.55 - box[1] / 2),
        shade,
    )


def _blend(pixels: Pixels, left: int, top: int, drawn: Rgba) -> None:
    """Lay a drawing over the picture; what lies outside is cut off."""
    height, width = pixels.shape[:2]
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(width, left + drawn.shape[1]), min(height, top + drawn.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    part = drawn[y0 - top : y1 - top, x0 - left : x1 - left]
    under = pixels[y0:y1, x0:x1]
    under += part[..., 3:] * (part[..., :3] - under)
