"""Colours as three float32 numbers in 0..1, mixed and varied; and the named ones of backgrounds."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float

Rgb = Float[np.ndarray, "3"]
T = TypeVar("T")

# Names of plain colours as captions say them, each with shades that a person would call so.
BACKGROUND_COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("#dc2626", "#d93a3f", "#c92a2a"),
    "orange": ("#f9871e", "#f79845", "#ee7f26"),
    "yellow": ("#fad632", "#f7dc5c", "#f5cb30"),
    "green": ("#34a853", "#57b36c", "#3f9a55"),
    "blue": ("#326ee1", "#4a84e8", "#2f62c9"),
    "purple": ("#8c46c8", "#9a60cf", "#7a3cb4"),
    "pink": ("#f596be", "#f7abc9", "#f083ad"),
    "brown": ("#825432", "#93653f", "#74482a"),
    "black": ("#1c1c20", "#242428", "#151518"),
    "white": ("#fafafa", "#f5f5f3", "#fdfdfd"),
    "gray": ("#969aa0", "#a6a9ad", "#868b92"),
    "light blue": ("#a9d6f5", "#b9def4", "#9ccdf2"),
    "turquoise": ("#3cc4bf", "#56cdc6", "#2fb3b0"),
    "beige": ("#ecdcc0", "#f1e4cc", "#e5d2b3"),
    "lavender": ("#c9b8ec", "#d3c5f0", "#beabe6"),
    "navy": ("#1b2a57", "#22336a", "#16234b"),
}


def rgb(code: str) -> Rgb:
    """Colour of a code like "#ff9a4a"."""
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)], np.float32) / np.float32(255)


def mix(
    a: Float[np.ndarray, "*#n 3"], b: Float[np.ndarray, "*#n 3"], share: float | int
) -> Float[np.ndarray, "*n 3"]:
    """Colour between `a` (share 0) and `b` (share 1)."""
    return a + (b - a) * np.float32(share)


def grey(colour: Rgb) -> Rgb:
    """Grey of the same brightness (Rec. 601 luma)."""
    return np.full(3, colour @ np.array([0.299, 0.587, 0.114], np.float32), np.float32)


def varied(rng: np.random.Generator, colour: Rgb, reach: float = 0.04) -> Rgb:
    """A neighbour of the colour: brightness and each channel moved by up to `reach`."""
    moved = colour * (1 + rng.uniform(-reach, reach)) + rng.uniform(-reach, reach, 3) / 2
    return np.clip(moved, 0, 1).astype(np.float32)


def choose(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, each as likely."""
    return options[int(rng.integers(len(options)))]


def palette(rng: np.random.Generator, rows: Sequence[tuple[str, ...]]) -> list[Rgb]:
    """The colours of one of the rows, a little varied together with the seed."""
    return [varied(rng, rgb(code), 0.03) for code in choose(rng, rows)]
