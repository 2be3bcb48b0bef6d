"""The spread of a model's sampling times, as numbers; flow/schedule.py computes the times."""

import math
from dataclasses import dataclass
from typing import Literal

Spacing = Literal["even", "karras", "exponential"]


@dataclass(frozen=True)
class Schedule:
    """The spread of a model's sampling times. The defaults are FLUX.1 [dev]'s.

    Even times are moved towards noise by a shift of strength mu, which is linear in the number of
    image tokens through the points `few` and `many`, each (tokens, mu), and not clamped. `spacing`
    may then spread the times anew, between the first of them and the last above 0.
    """

    few: tuple[int, float] = (256, 0.5)
    many: tuple[int, float] = (4096, 1.15)
    linear: bool = False  # the line gives e^mu, not mu
    spacing: Spacing = "even"

    def mu(self, image_tokens: int) -> float:
        """The strength of the shift for a picture of this many tokens. ValueError where a linear
        shift is not positive."""
        (few, low), (many, high) = self.few, self.many
        strength = low + (image_tokens - few) * ((high - low) / (many - few))
        return math.log(strength) if self.linear else strength
