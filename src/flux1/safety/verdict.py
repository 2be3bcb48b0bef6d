"""The verdict of a check of words or of a picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verdict:
    """`scores` by category, in 0..1; `categories` are those that block at the asked tolerance."""

    categories: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def blocked(self) -> bool:
        return bool(self.categories)
