"""Giving a drawing another colour, so that it still looks drawn.

The colours are those of the vocabulary. Light and shade stay: lightness moves with the drawing's
own, about the lightness of the new colour. Black lines stay black; eyes, teeth and small parts of
another hue (a leaf, a window) stay as they are.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from flux1.training.mini.vocabulary import COLOURS

RGB: dict[str, tuple[int, int, int]] = {colour.name: colour.rgb for colour in COLOURS}

# Oklab (B. Ottosson, 2020): linear RGB to cone responses, their cube roots to lightness, a and b.
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    np.float32,
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    np.float32,
)
_FROM_CONES, _FROM_LAB = np.linalg.inv(_TO_CONES), np.linalg.inv(_TO_LAB)
_LINEAR = np.array(
    [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.arange(256) / 255],
    np.float32,
)

# Bytes of 4096 steps of linear light, so that no power is taken per pixel.
_STEPS = np.linspace(0, 1, 4096)
_BYTES = np.rint(
    255 * np.where(_STEPS <= 0.0031308, 12.92 * _STEPS, 1.055 * _STEPS ** (1 / 2.4) - 0.055)
).astype(np.uint8)

_GREY = 0.045  # chroma below which a colour has no hue that one would name
_DARK = 0.40  # lightness below which a grey is a line or a pupil
_HUES = 24  # bins of the hue circle
_REACH = 2  # bins beside a main hue that still belong to it: light and shade shift hues
_BODY = 0.55  # share of the coloured ink that the main hues make up at least


def oklab(rgb: UInt8[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Lightness in 0..1 and the two axes of colour, about -0.4..0.4, of sRGB bytes."""
    return np.cbrt(_LINEAR[rgb] @ _TO_CONES.T) @ _TO_LAB.T


def from_oklab(lab: Float[np.ndarray, "*n 3"]) -> UInt8[np.ndarray, "*n 3"]:
    """The sRGB bytes of Oklab values, clipped to what a screen shows."""
    cones = lab @ _FROM_LAB.T
    linear = (cones * cones * cones) @ _FROM_CONES.T
    return _BYTES[np.rint(linear.clip(0, 1) * 4095).astype(np.int32)]


def recolour(rgba: UInt8[np.ndarray, "h w 4"], colour: str) -> UInt8[np.ndarray, "h w 4"]:
    """The drawing in one of the named colours, its light and shade, lines and eyes kept."""
    inked = rgba[..., 3] > 0
    inks, places, areas = _inks(rgba[inked, :3])
    lab = oklab(inks)
    share = _share(lab, areas)
    middle = _median(lab[:, 0], np.where(share > 0.5, areas, 0))
    mixed = lab + share[:, None] * (_relit(lab[:, 0], middle, RGB[colour]) - lab)
    tinted = rgba.copy()
    tinted[inked, :3] = from_oklab(mixed)[places]
    return tinted


def _inks(
    rgb: UInt8[np.ndarray, "pixels 3"],
) -> tuple[UInt8[np.ndarray, "inks 3"], Int[np.ndarray, " pixels"], Int[np.ndarray, " inks"]]:
    """The different colours, which of them each pixel has, and how many pixels each has."""
    codes = rgb.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    inks, places, areas = np.unique(codes, return_inverse=True, return_counts=True)
    split = np.stack([inks >> 16, inks >> 8 & 255, inks & 255], axis=-1)
    return split.astype(np.uint8), places, areas


def _share(
    lab: Float[np.ndarray, "inks 3"], areas: Int[np.ndarray, " inks"]
) -> Float[np.ndarray, " inks"]:
    """Return how much of the new colour each ink takes, 0..1: the larger of hued and light
    parts."""
    lightness, chroma = lab[:, 0], np.hypot(lab[:, 1], lab[:, 2])
    hued = np.clip((chroma - 0.5 * _GREY) / _GREY, 0, 1)
    light = np.clip((lightness - _DARK) / 0.25, 0, 1)
    if areas[lightness < _DARK].sum() > 0.8 * areas.sum():
        return np.ones_like(lightness)  # a silhouette: all of it
    if (hued * areas).sum() > (light * (1 - hued) * areas).sum():
        vivid = np.minimum(chroma, 0.16) * np.clip(lightness / 0.5, 0, 1)
        return hued * _of_body(lab, hued * vivid * areas)
    return light * (1 - np.clip((chroma - 0.07) / 0.05, 0, 1))


def _of_body(
    lab: Float[np.ndarray, "inks 3"], weight: Float[np.ndarray, " inks"]
) -> Float[np.ndarray, " inks"]:
    """1 where an ink has one of the hues that make up most of the drawing, soft at their ends."""
    angle = np.arctan2(lab[:, 2], lab[:, 1]) / (2 * np.pi) * _HUES
    place = np.floor(angle).astype(np.int32) % _HUES
    chosen = _main_hues(np.bincount(place, weight, _HUES))
    part = angle - np.floor(angle)
    neighbour = np.where(part < 0.5, place - 1, place + 1) % _HUES
    across = np.abs(part - 0.5)
    return (chosen[place] * (1 - across) + chosen[neighbour] * across).astype(np.float32)


def _main_hues(bins: Float[np.ndarray, " hues"]) -> Bool[np.ndarray, " hues"]:
    """The stretches of the hue circle that hold the most ink, as many as make up the body."""
    chosen = np.zeros(_HUES, bool)
    reach = range(-_REACH, _REACH + 1)
    while bins[chosen].sum() < _BODY * bins.sum():
        left = np.where(chosen, 0, bins)
        near = [np.roll(left, step) * (_REACH + 1 - abs(step)) for step in reach]
        peak = int(np.argmax(np.sum(near, axis=0)))
        chosen[[(peak + step) % _HUES for step in reach]] = True
    return chosen


def _median(lightness: Float[np.ndarray, " inks"], areas: Int[np.ndarray, " inks"]) -> float:
    """The lightness that half of the area is darker than; 0.5 where there is no area."""
    if not areas.any():
        return 0.5
    order = np.argsort(lightness)
    half = int(np.searchsorted(np.cumsum(areas[order]), areas.sum() / 2))
    return float(lightness[order[half]])


def _relit(
    lightness: Float[np.ndarray, " inks"], middle: float, rgb: tuple[int, int, int]
) -> Float[np.ndarray, "inks 3"]:
    """The new colour with the drawing's light and shade: at `middle` it is the colour itself."""
    target = oklab(np.array(rgb, np.uint8))
    shade = np.clip(lightness / max(middle, 0.05), 0, 1)
    shine = np.clip((lightness - middle) / max(1 - middle, 0.05), 0, 1)
    bright = target[0] + shine * (0.98 - target[0]) * (0.35 + 0.4 * target[0])
    lit = np.where(lightness < middle, target[0] * shade, bright)
    fade = (lit / target[0]).clip(0, 1) * (1 - 0.6 * shine)
    return np.concatenate([lit[:, None], fade[:, None] * target[1:]], axis=-1)
