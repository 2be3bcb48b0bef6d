"""Things that overlap: in front of and behind, on, inside, worn, held and ridden."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from flux1.training.mini.world.arrange import Figure, Shape, anywhere
from flux1.training.mini.world.scenes import Thing

_HELD = "air"  # what another thing carries casts no shadow on the ground
Arrangement = Callable[[Figure, Figure, Shape, np.random.Generator], list[Thing]]


def in_front_of(a: Figure, b: Figure, shape: Shape, rng: np.random.Generator) -> list[Thing]:
    """The first thing stands before the second and covers a part of it."""
    back = anywhere(b, (0.5, 0.7), shape, rng)
    size = rng.uniform(0.36, 0.48)
    wide, high = b.box(back.size, shape)
    mine = a.box(size, shape)
    side = 1 if back.x < 0.5 else -1
    x = back.x + side * rng.uniform(0.22, 0.42) * wide
    y = back.y + high / 2 - mine[1] / 2 + rng.uniform(0.01, 0.05)
    front = a.at(_inside(x, mine[0]), _inside(y, mine[1]), size, back.surface, 1)
    return [front, back]


def behind(a: Figure, b: Figure, shape: Shape, rng: np.random.Generator) -> list[Thing]:
    """The first thing is partly covered by the second."""
    front, back = in_front_of(b, a, shape, rng)
    return [back, front]


def on(a: Figure, b: Figure, shape: Shape, rng: np.random.Generator) -> list[Thing]:
    """The first thing stands on top of the second."""
    return _stacked(a, b, shape, rng, (0.30, 0.42), (0.42, 0.56), sink=0.06, layer=1)


def inside(a: Figure, b: Figure, shape: Shape, rng: np.random.Generator) -> list[Thing]:
    """The first thing looks out of the second, which hides its lower part."""
    return _stacked(a, b, shape, rng, (0.34, 0.44), (0.44, 0.56), sink=0.42, layer=-1)


def riding(a: Figure, b: Figure, shape: Shape, rng: np.random.Generator) -> list[Thing]:
    """The first thing sits on the second one's back."""
    return _stacked(a, b, shape, rng, (0.34, 0.42), (0.46, 0.58), sink=0.16, layer=1)


def wearing(a: Figure, b: Figure, shape: Shape, rng: np.random.Generator) -> list[Thing]:
    """The head of the first thing carries the second: a hat on top, glasses over the eyes."""
    head = anywhere(replace(a, turned=0.0), (0.5, 0.68), shape, rng)
    _, high = a.box(head.size, shape)
    eyes = "glasses" in b.noun
    size = head.size * min(1.0, a.aspect) * (0.72 if eyes else 0.74) / min(1.0, b.aspect)
    mine = replace(b, turned=0.0).box(size, shape)
    if not eyes and head.y - high / 2 - 0.75 * mine[1] < 0.015:
        head = replace(head, y=round(high / 2 + 0.75 * mine[1] + 0.015, 4))
    y = head.y - 0.04 * high if eyes else head.y - high / 2 + 0.22 * mine[1] - 0.25 * mine[1]
    worn = replace(b, turned=0.0, mirrored=False).at(head.x, y, size, _HELD, 2)
    return [head, worn]


def holding(a: Figure, b: Figure, shape: Shape, rng: np.random.Generator) -> list[Thing]:
    """The second thing is small, in front of the first, at its side."""
    holder = anywhere(a, (0.55, 0.72), shape, rng)
    wide, high = a.box(holder.size, shape)
    size = holder.size * rng.uniform(0.40, 0.5)
    mine = b.box(size, shape)
    side = 1 if holder.x < 0.5 else -1
    x = holder.x + side * (wide / 2 + 0.12 * mine[0])
    held = b.at(_inside(x, mine[0]), holder.y + 0.22 * high, size, _HELD, 2)
    return [holder, held]


# How two things that overlap are arranged, by their relation.
ARRANGEMENTS: dict[str, Arrangement] = {
    "in front of": in_front_of, "behind": behind, "on": on, "inside": inside,
    "wearing": wearing, "holding": holding, "riding": riding,
}  # fmt: skip


def _stacked(
    a: Figure,
    b: Figure,
    shape: Shape,
    rng: np.random.Generator,
    upper: tuple[float, float],
    lower: tuple[float, float],
    sink: float,
    layer: int,
) -> list[Thing]:
    """The first thing above the second, sunk into it by a share of its own height."""
    below = anywhere(replace(b, turned=0.0), lower, shape, rng)
    size = rng.uniform(*upper)
    _, high = b.box(below.size, shape)
    mine = a.box(size, shape)
    top = below.y - high / 2 + sink * mine[1] - mine[1]
    if top < 0.015:
        down = min(0.015 - top, 0.985 - below.y - high / 2)
        below, top = replace(below, y=round(below.y + down, 4)), top + down
    x = below.x + rng.uniform(-0.08, 0.08) * mine[0]
    above = a.at(_inside(x, mine[0]), top + mine[1] / 2, size, _HELD, layer)
    return [above, below]


def _inside(centre: float, extent: float) -> float:
    """The centre, moved so that the box stays in the picture."""
    half = min(extent / 2 + 0.01, 0.5)
    return min(max(centre, half), 1 - half)
