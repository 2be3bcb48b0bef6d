"""Settings drawn at random: which place, in which light and weather, in which colours."""

from collections.abc import Collection
from functools import cache

import numpy as np

from flux1.training.mini.world.places import (
    BACKGROUND_COLOURS,
    PLACES,
    Setting,
    backdrop,
    combinations,
)

# Plain backgrounds are what most prompts without a place mean; the other studios are rarer.
STUDIO = ("plain", "gradient", "stripes", "dots", "checks", "confetti")
_WEIGHTS = {"plain": 3.0, "gradient": 1.0, "stripes": 0.4, "dots": 0.4, "checks": 0.4,
            "confetti": 0.3}  # fmt: skip


def sample_setting(rng: np.random.Generator, places: Collection[str] = tuple(PLACES)) -> Setting:
    """A setting in one of the places; day and clear skies are the most frequent."""
    names = sorted(places)
    weights = np.array([_WEIGHTS.get(name, 1.0) for name in names])
    return setting_in(names[int(rng.choice(len(names), p=weights / weights.sum()))], rng)


def setting_in(place: str, rng: np.random.Generator) -> Setting:
    """A setting in this place."""
    fitting = list(combinations(place))
    weights = np.array([_share(light, weather) for light, weather in fitting])
    light, weather = fitting[int(rng.choice(len(fitting), p=weights / weights.sum()))]
    fewest, most = PLACES[place].colours
    number = int(rng.integers(fewest, most + 1))
    colours = rng.choice(list(BACKGROUND_COLOURS), number, replace=False)
    return Setting(place, light, weather, int(rng.integers(2**31)), tuple(map(str, colours)))


def _share(light: str, weather: str) -> float:
    return (2.5 if light == "day" else 1.0) * (6.0 if weather == "clear" else 1.0)


@cache
def surfaces(place: str) -> frozenset[str]:
    """Return what a place offers to stand on or float in, whatever its light and weather."""
    rng = np.random.default_rng(0)
    seen = (backdrop(setting_in(place, rng), 32, 32) for _ in range(4))
    return frozenset(ground.surface for drawn in seen for ground in drawn.grounds)
