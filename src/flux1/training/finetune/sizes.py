"""Chooses the size that a picture is learnt at: near the wanted area, of its own shape, never
enlarged."""

import math
from dataclasses import dataclass

from PIL import Image, ImageOps

SIDES = 16  # about so many steps from 0 to the wanted side
LONGEST = 4.0  # of a longer side to the shorter; what is longer is cropped to it
LEAST = 0.25  # of the wanted area: a picture of fewer pixels is too small


@dataclass(frozen=True)
class Fit:
    """A size, and the share of the picture that is cut off to reach its shape."""

    width: int
    height: int
    cropped: float

    @property
    def sides(self) -> tuple[int, int]:
        return self.width, self.height


def fit(width: int, height: int, side: int, multiple: int) -> Fit | None:
    """The size at which a picture of width x height is learnt where side x side is wanted.

    Sides are multiples of `multiple` (and of a 16th of `side`, so that pictures share sizes), the
    area is at most side^2, and neither side is more than the picture's own. None if the picture
    has not even a quarter of the wanted pixels.
    """
    if width * height < LEAST * side * side:
        return None
    step = multiple * max(1, round(side / (SIDES * multiple)))
    shapes = _shapes(width, height, side * side, step) or _shapes(
        width, height, side * side, multiple
    )
    if not shapes:
        return None
    cut = {shape: _cropped(width, height, *shape) for shape in shapes}
    best = min(shapes, key=lambda shape: (round(cut[shape], 2), -shape[0] * shape[1]))
    return Fit(*best, cut[best])


def fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle of a picture in the shape of `size`, brought to it."""
    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


def _shapes(width: int, height: int, area: int, step: int) -> list[tuple[int, int]]:
    """Widths in steps, each with the greatest height, within the picture and the area."""
    shapes = []
    for wide in range(step, min(width, area // step) + 1, step):
        high = min(height, area // wide) // step * step
        if high and max(wide, high) <= LONGEST * min(wide, high):
            shapes.append((wide, high))
    return shapes


def _cropped(width: int, height: int, to_width: int, to_height: int) -> float:
    """The share of a picture that is cut off when it is brought to another shape."""
    ratio = (to_width / to_height) / (width / height)
    return 1 - min(ratio, 1 / ratio) if not math.isclose(ratio, 1) else 0.0
