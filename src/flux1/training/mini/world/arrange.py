"""Places things in a setting: free places and sizes, with relations that stay true.

Positions and sizes are fractions, as in `Thing`: x of the width, y of the height, sizes of the
shorter side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flux1.training.mini.world.places.setting import STANDING, Ground
from flux1.training.mini.world.scenes import Thing

_MARGIN = 0.015  # what is left free at the picture's edges
_GAP = 0.03  # between two things side by side


@dataclass(frozen=True)
class Shape:
    """Width and height of a picture, in shorter sides."""

    wide: float
    tall: float

    @classmethod
    def of(cls, width: int, height: int) -> "Shape":
        short = min(width, height)
        return cls(width / short, height / short)


@dataclass(frozen=True)
class Figure:
    """A thing without its place: what is drawn, and the shape of its drawing's box."""

    noun: str
    drawing: str
    aspect: float  # width over height
    grounds: tuple[Ground, ...]  # where it may be
    cut: bool = False  # whether it ends below as if the picture's edge cut it off
    colour: str | None = None
    mirrored: bool = False
    turned: float = 0.0

    def box(self, size: float, shape: Shape) -> tuple[float, float]:
        """Width and height of the turned drawing's box, as fractions of the picture's sides."""
        wide, high = size * min(1.0, self.aspect), size * min(1.0, 1 / self.aspect)
        angle = np.radians(abs(self.turned))
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        return (wide * cos + high * sin) / shape.wide, (high * cos + wide * sin) / shape.tall

    def at(self, x: float, y: float, size: float, surface: str, layer: int = 0) -> Thing:
        """The thing itself."""
        return Thing(
            self.noun,
            self.drawing,
            round(x, 4),
            round(y, 4),
            round(size, 4),
            surface,
            self.colour,
            self.mirrored,
            round(self.turned, 1),
            layer,
        )


def anywhere(
    figure: Figure, sizes: tuple[float, float], shape: Shape, rng: np.random.Generator
) -> Thing:
    """One thing somewhere in its grounds."""
    size = _fitting(figure, rng.uniform(*sizes), shape)
    wide, _ = figure.box(size, shape)
    x = _within(rng, wide / 2 + _MARGIN, 1 - wide / 2 - _MARGIN)
    y, surface = _height(figure, size, shape, rng)
    return figure.at(x, y, size, surface)


def in_a_row(
    figures: Sequence[Figure], sizes: tuple[float, float], shape: Shape, rng: np.random.Generator
) -> list[Thing] | None:
    """Things from left to right, none before another; None if there is no room for them."""
    scaled = [_fitting(f, rng.uniform(*sizes), shape) for f in figures]
    widths = [f.box(s, shape)[0] for f, s in zip(figures, scaled, strict=True)]
    free = 1 - 2 * _MARGIN - sum(widths) - _GAP * (len(figures) - 1)
    if free < 0:
        shrink = (1 - 2 * _MARGIN - _GAP * (len(figures) - 1)) / sum(widths)
        if shrink * min(scaled) < 0.2:
            return None
        scaled, widths, free = [s * shrink for s in scaled], [w * shrink for w in widths], 0.0
    spare = rng.dirichlet(np.ones(len(figures) + 1)) * free
    things, left = [], _MARGIN
    for figure, size, wide, extra in zip(figures, scaled, widths, spare[:-1], strict=True):
        left += extra
        y, surface = _height(figure, size, shape, rng)
        things.append(figure.at(left + wide / 2, y, size, surface))
        left += wide + _GAP
    return things


def above_one_another(
    upper: Figure,
    lower: Figure,
    sizes: tuple[float, float],
    shape: Shape,
    rng: np.random.Generator,
) -> list[Thing] | None:
    """The upper thing floats; the lower one stands or floats. None if they cannot."""
    floating = tuple(g for g in upper.grounds if g.surface not in STANDING)
    if not floating:
        return None
    pair = (replace(upper, grounds=floating), lower)
    scaled = [_fitting(f, rng.uniform(*sizes), shape) for f in pair]
    heights = [f.box(s, shape)[1] for f, s in zip(pair, scaled, strict=True)]
    room = 1 - 2 * _MARGIN - _GAP
    if sum(heights) > room:
        scaled = [s * room / sum(heights) for s in scaled]
        heights = [h * room / sum(heights) for h in heights]
    things = []
    for figure, size in zip(pair, scaled, strict=True):
        wide, _ = figure.box(size, shape)
        x = _within(rng, wide / 2 + _MARGIN, 1 - wide / 2 - _MARGIN)
        y, surface = _height(figure, size, shape, rng)
        things.append(figure.at(x, y, size, surface))
    top, bottom = things
    ceiling = bottom.y - heights[1] / 2 - _GAP - heights[0] / 2
    if ceiling < heights[0] / 2 + _MARGIN:
        if bottom.surface in STANDING:
            return None
        bottom = replace(bottom, y=round(1 - _MARGIN - heights[1] / 2, 4))
        ceiling = bottom.y - heights[1] / 2 - _GAP - heights[0] / 2
    low, high = pair[0].grounds[0].top + heights[0] / 2, ceiling
    y = _within(rng, max(_MARGIN + heights[0] / 2, min(low, high)), high)
    near = top.x if abs(top.x - bottom.x) < 0.25 else bottom.x + rng.uniform(-0.15, 0.15)
    half = pair[0].box(scaled[0], shape)[0] / 2
    x = min(max(near, half + _MARGIN), 1 - half - _MARGIN)
    return [replace(top, x=round(x, 4), y=round(y, 4)), bottom]


# How large copies are: the range that is tried first, by their number.
_COPIES = {2: (0.38, 0.55), 3: (0.34, 0.46), 4: (0.30, 0.42), 5: (0.28, 0.38)}


def scattered(
    figures: Sequence[Figure], shape: Shape, rng: np.random.Generator
) -> list[Thing] | None:
    """Copies in a free layout, none before another; they shrink until they find room."""
    size = rng.uniform(*_COPIES[len(figures)])
    for _ in range(6):
        placed: list[tuple[Thing, Figure]] = []
        for figure in figures:
            for _ in range(24):
                scale = _fitting(figure, size * rng.uniform(0.94, 1.06), shape)
                made = (anywhere(figure, (scale, scale), shape, rng), figure)
                if not any(_touch(made, other, shape) for other in placed):
                    placed.append(made)
                    break
        if len(placed) == len(figures):
            return [thing for thing, _ in placed]
        size *= 0.93
    return None


def repeated(figures: Sequence[Figure], shape: Shape, rng: np.random.Generator) -> list[Thing]:
    """A pattern of one or two drawings over the whole picture, rows and columns alike."""
    columns = round(int(rng.integers(3, 5)) * shape.wide)
    rows = round(columns * shape.tall / shape.wide)
    size = 0.72 * shape.wide / columns
    slant = rng.uniform(0, 14)
    things = []
    for row in range(rows):
        for column in range(columns):
            figure = figures[(row + column) % len(figures)]
            turned = float(slant if (row + column) % 2 else -slant)
            figure = replace(figure, turned=turned)
            place = ((column + 0.5) / columns, (row + 0.5) / rows)
            things.append(figure.at(*place, size, "air"))
    return things


def _fitting(figure: Figure, size: float, shape: Shape) -> float:
    """The size, or the largest that fits into the picture."""
    wide, high = figure.box(size, shape)
    return size * min(1.0, (1 - 2 * _MARGIN) / wide, (1 - 2 * _MARGIN) / high)


def _height(
    figure: Figure, size: float, shape: Shape, rng: np.random.Generator
) -> tuple[float, str]:
    """The centre's y in one of the figure's grounds, and what is there."""
    if figure.cut:
        return 1 - figure.box(size, shape)[1] / 2, "air"
    weights = np.array([1.0 / (i + 1) for i in range(len(figure.grounds))])
    ground = figure.grounds[int(rng.choice(len(weights), p=weights / weights.sum()))]
    _, high = figure.box(size, shape)
    if ground.surface in STANDING:
        feet = _within(rng, ground.top + 0.02, min(ground.bottom, 1 - _MARGIN))
        return max(feet - high / 2, high / 2 + _MARGIN), ground.surface
    low, far = max(ground.top, _MARGIN) + high / 2, min(ground.bottom, 1 - _MARGIN) - high / 2
    return _within(rng, low, max(far, min(low, 1 - _MARGIN - high / 2))), ground.surface


def _within(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high)) if low < high else (low + high) / 2


def _touch(one: tuple[Thing, Figure], other: tuple[Thing, Figure], shape: Shape) -> bool:
    """Return whether the boxes of two placed figures touch."""
    (a, first), (b, second) = one, other
    (w1, h1), (w2, h2) = first.box(a.size, shape), second.box(b.size, shape)
    near_x = abs(a.x - b.x) < 0.5 * (w1 + w2) + 0.01
    return near_x and abs(a.y - b.y) < 0.5 * (h1 + h2) + 0.01
