"""A picture enlarged tile by tile, in little memory and without seams. NumPy alone: torch's network
and ONNX Runtime's graph are called the same way.

Each tile is given with as many pixels around it as the network looks at, so what is kept of its
answer is what the whole picture would have given.
"""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from einops import reduce
from jaxtyping import Float, UInt8

from flux1.model.config import UpscalerConfig

TILE = 256  # pixels of a side: an activation takes 22 MB
Enlarge = Callable[[Float[np.ndarray, "1 3 h w"]], Float[np.ndarray, "1 3 H W"]]


def enlarged(
    levels: UInt8[np.ndarray, "h w 3"],
    scale: int,
    network: Enlarge,
    config: UpscalerConfig,
    tile: int = TILE,
) -> UInt8[np.ndarray, "H W 3"]:
    """8-bit RGB at `scale` times the sides, by a network of `config` for pixels in [0, 1].

    `scale` divides the network's own. Where it is less, each pixel is the mean of a square of the
    network's pixels: exact, and it needs no pixels of another tile.
    """
    height, width, colours = levels.shape
    picture = np.empty((height * scale, width * scale, colours), np.uint8)
    shrink = config.scale // scale
    for own, seen, inner in _tiles(height, width, tile, config.reach):
        pixels = levels[seen].transpose(2, 0, 1)[None].astype(np.float32) / 255
        large = network(pixels)[0][:, *_times(inner, config.scale)].clip(0, 1)
        large = reduce(large, "c (h p) (w q) -> h w c", "mean", p=shrink, q=shrink)
        picture[_times(own, scale)] = np.round(large * 255).astype(np.uint8)
    return picture


Window = tuple[slice, slice]


def _tiles(
    height: int, width: int, tile: int, reach: int
) -> Iterator[tuple[Window, Window, Window]]:
    """Each tile: its own pixels, those that are shown to the network, and where in these its own
    are."""
    for top, left in product(range(0, height, tile), range(0, width, tile)):
        sides = [_side(top, height, tile, reach), _side(left, width, tile, reach)]
        own, seen, inner = zip(*sides, strict=True)
        yield own, seen, inner


def _side(start: int, length: int, tile: int, reach: int) -> tuple[slice, slice, slice]:
    stop = min(start + tile, length)
    low, high = max(0, start - reach), min(length, stop + reach)
    return slice(start, stop), slice(low, high), slice(start - low, stop - low)


def _times(window: Window, scale: int) -> Window:
    rows, columns = (slice(scale * side.start, scale * side.stop) for side in window)
    return rows, columns
