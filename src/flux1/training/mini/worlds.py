"""The world that a recipe learns to draw: scenes, their pictures, and the words that are true of
them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import UInt8

S = TypeVar("S")
Painter = Callable[[np.random.Generator], UInt8[np.ndarray, "h w 3"]]


@dataclass(frozen=True)
class Caption:
    """Words that are true of a scene. `spans`: where in them each of its things is named, first
    character and the one behind the last; None for a thing that the words leave out. Copies may
    share one name, and then one span."""

    words: str
    spans: tuple[tuple[int, int] | None, ...]

    def name(self, number: int) -> str:
        """Return how the caption calls a thing; empty if it leaves it out."""
        span = self.spans[number]
        return "" if span is None else self.words[slice(*span)]


@runtime_checkable
class World(Protocol[S]):
    """Scenes of one kind `S`, sampled, drawn, described and written down."""

    def to_json(self, scene: S) -> str:
        """A scene on one line."""
        ...

    def from_json(self, line: str) -> S:
        """The scene that `to_json` wrote."""
        ...

    def sample(self, rng: np.random.Generator, size: tuple[int, int]) -> S:
        """A scene for a picture of `size` (width, height) pixels."""
        ...

    def picture(
        self, scene: S, size: tuple[int, int], rng: np.random.Generator
    ) -> UInt8[np.ndarray, "h w 3"]:
        """A scene's pixels."""
        ...

    def caption(self, scene: S, rng: np.random.Generator) -> Caption:
        """One of many wordings of a scene."""
        ...


def painter(world: World[S], size: tuple[int, int]) -> Painter:
    """Fresh pictures of a world, one for each call."""

    def paint(rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        return world.picture(world.sample(rng, size), size, rng)

    return paint
