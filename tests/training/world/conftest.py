"""Drawings that need no network: one coloured ellipse for each real drawing."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from flux1.training.mini.world.drawings import Drawings, style_of
from flux1.training.mini.world.nouns import all_nouns


def _ellipse(wide: int, high: int, colour: tuple[int, int, int]) -> np.ndarray:
    image = Image.new("RGBA", (wide, high))
    ImageDraw.Draw(image).ellipse((0, 0, wide - 1, high - 1), fill=(*colour, 255))
    return np.asarray(image)


@pytest.fixture(scope="session")
def drawings() -> Drawings:
    rng = np.random.default_rng(0)
    rows = [(n.name, name, framing) for n in all_nouns().values() for name, framing in n.drawings]
    sides = rng.integers(16, 33, (len(rows), 2))
    colours = rng.integers(60, 220, (len(rows), 3))
    rgba = [
        _ellipse(int(w), int(h), tuple(map(int, c)))
        for (w, h), c in zip(sides, colours, strict=True)
    ]
    nouns, names, framings = zip(*rows, strict=True)
    return Drawings(rgba, nouns, names, tuple(map(style_of, names)), framings)
