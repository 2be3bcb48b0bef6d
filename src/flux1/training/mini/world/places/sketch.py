"""The tools of a painter of places: a canvas, the air, and chance."""

from dataclasses import dataclass

import numpy as np

from flux1.training.mini.world.places.air import Air
from flux1.training.mini.world.places.canvas import Canvas, Number


@dataclass(frozen=True)
class Sketch:
    """A picture being painted; `colours` are the names that the setting asks for."""

    canvas: Canvas
    air: Air
    rng: np.random.Generator
    colours: tuple[str, ...] = ()

    def between(self, low: Number, high: Number) -> float:
        """A number between the two."""
        return float(self.rng.uniform(low, high))

    def chance(self, share: Number) -> bool:
        """True in this share of all seeds."""
        return bool(self.rng.random() < share)

    def several(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))
