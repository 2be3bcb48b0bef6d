"""The styles that captions name, and those that are made from any drawing."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image


@dataclass(frozen=True)
class Style:
    """A style's name and the words that captions use for it.

    `made` styles are made from any drawing by a function of this module; the others are those of
    the sets of drawings, so that a noun has them only where a set draws it.
    """

    name: str
    words: tuple[str, ...]
    made: bool = False


STYLES: dict[str, Style] = {
    style.name: style
    for style in (
        Style("glossy 3D", ("glossy 3d", "3d", "glossy", "3d render", "shiny 3d")),
        Style("flat", ("flat", "flat vector", "flat design", "simple flat", "vector art")),
        Style("cartoon", ("cartoon", "cartoonish", "cute cartoon", "comic")),
        Style("outlined", ("outlined", "outlined cartoon", "bold outline", "sticker")),
        Style("silhouette", ("silhouette", "shadow shape", "cut-out shape"), made=True),
        Style("line icon", ("line icon", "line art", "black line drawing", "ink line")),
        Style("pixel art", ("pixel art", "8-bit", "pixelated", "retro game pixel"), made=True),
    )
}


def silhouette(
    rgba: UInt8[np.ndarray, "h w 4"], rgb: tuple[int, int, int]
) -> UInt8[np.ndarray, "h w 4"]:
    """The shape of a drawing filled with one colour."""
    filled = rgba.copy()
    filled[..., :3] = rgb
    return filled


def outline_tells(rgba: UInt8[np.ndarray, "h w 4"]) -> bool:
    """Return whether one may know a drawing by its outline: it is no mere box, disc or oval."""
    solid = rgba[::4, ::4, 3] > 127
    y, x = (2 * (np.arange(n) + 0.5) / n - 1 for n in solid.shape)
    oval = y[:, None] ** 2 + x**2 <= 1
    alike = (solid & oval).sum() / (solid | oval).sum()
    return bool(max(solid.mean(), alike) < 0.9)


def pixel_art(
    rgba: UInt8[np.ndarray, "h w 4"], cells: int = 24, colours: int = 12
) -> UInt8[np.ndarray, "tall wide 4"]:
    """A drawing in few large squares of few colours: `cells` along its longer side.

    The picture is enlarged by a whole factor, so its longer side is the multiple of `cells` that
    comes nearest to the drawing's. Each square is either opaque or empty.
    """
    height, width, _ = rgba.shape
    scale = cells / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    premultiplied = rgba.astype(np.float32)
    premultiplied[..., :3] *= premultiplied[..., 3:] / 255
    small = np.stack([_shrink(premultiplied[..., band], size) for band in range(4)], axis=-1)
    opaque = small[..., 3] >= 128
    colour = small[..., :3] / np.maximum(small[..., 3:], 1) * 255
    few = _few_colours(colour.clip(0, 255).astype(np.uint8), opaque, colours)
    art = np.concatenate([few, np.where(opaque, 255, 0)[..., None].astype(np.uint8)], axis=-1)
    factor = max(1, round(max(height, width) / cells))
    return art.repeat(factor, axis=0).repeat(factor, axis=1)


def _shrink(band: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(band).resize(size, Image.Resampling.BOX))


def _few_colours(
    colour: UInt8[np.ndarray, "h w 3"], opaque: np.ndarray, colours: int
) -> UInt8[np.ndarray, "h w 3"]:
    """The nearest of a few colours, chosen by median cut among the opaque squares alone."""
    if not opaque.any():
        return colour
    ink = Image.fromarray(colour[opaque][None])
    palette = ink.quantize(colours, method=Image.Quantize.MEDIANCUT)
    few = colour.copy()
    few[opaque] = np.asarray(palette.convert("RGB"))[0]
    return few
