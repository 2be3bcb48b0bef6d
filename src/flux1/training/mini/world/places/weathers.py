"""Weather: what it does to the sky and the air, what falls in front, and the words that name it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flux1.training.mini.world.places.canvas import Canvas
from flux1.training.mini.world.places.colours import Rgb, mix, rgb


def _nothing(canvas: Canvas, rng: np.random.Generator, light: Rgb) -> None:
    """Clear weather hides nothing."""


def _rain(canvas: Canvas, rng: np.random.Generator, light: Rgb) -> None:
    """Slanted streaks, all one way, long and few enough to be learnt."""
    pen, slant = canvas.pen(), rng.uniform(-0.3, 0.3)
    for _ in range(int(rng.integers(34, 56) * canvas.wide * canvas.tall)):
        x, y, length = rng.uniform(-0.1, 1.1), rng.uniform(-0.1, 1), rng.uniform(0.05, 0.1)
        end = (x + slant * length / canvas.wide, y + length / canvas.tall)
        pen.line([(x, y), end], 0.0065, rng.uniform(0.5, 1))
    canvas.fill(pen.mask(), rgb("#e6f0fa") * light, 0.55)


def _snow(canvas: Canvas, rng: np.random.Generator, light: Rgb) -> None:
    """Flakes: many small and far, a few large and near."""
    white = mix(rgb("#ffffff") * light, rgb("#ffffff"), 0.5)
    for _ in range(int(rng.integers(36, 60) * canvas.wide * canvas.tall)):
        r = _flake(rng)
        canvas.disc(rng.uniform(0, 1), rng.uniform(0, 1), r, white, rng.uniform(0.65, 0.95), 1.5)


def _flake(rng: np.random.Generator) -> float:
    """Radius of a snowflake, in shorter sides: most are small."""
    return float(0.0065 + 0.009 * rng.uniform(0, 1) ** 3)


def _fog(canvas: Canvas, rng: np.random.Generator, light: Rgb) -> None:
    """Two or three soft banks, thickest low in the picture."""
    colour = rgb("#e8ecf0") * light
    veil = np.clip(0.14 + 0.12 * canvas.y, 0, 1)[:, None] * np.ones_like(canvas.x)[None]
    for _ in range(3):
        at, deep = rng.uniform(0.45, 0.95), rng.uniform(0.06, 0.14)
        wave = at + 0.03 * np.sin(canvas.x * rng.uniform(3, 9) + rng.uniform(0, 6.283))
        veil += 0.16 * np.exp(-(((canvas.y[:, None] - wave[None]) / deep) ** 2))
    canvas.fill(np.clip(veil, 0, 0.46).astype(np.float32), colour)


@dataclass(frozen=True)
class WeatherRow:
    """One weather. `overcast` is how far the sky turns to grey, `dim` multiplies the light,
    `haze` is how much sooner the distance fades, `whitens` how much snow lies; `before` draws what
    falls in front of the things; `lights` are those it goes with. `phrases` follow a noun in a
    caption, `nouns` stand in lists of words; `day_phrases` are true by day alone."""

    name: str
    phrases: tuple[str, ...]
    nouns: tuple[str, ...]
    lights: tuple[str, ...]
    before: Callable[[Canvas, np.random.Generator, Rgb], None] = _nothing
    overcast: float = 0.0
    dim: float = 1.0
    haze: float = 0.0
    whitens: float = 0.0
    day_phrases: tuple[str, ...] = ()


_SKIES = ("day", "dawn", "sunset", "golden hour", "night", "moonlight")
_ROWS = (
    WeatherRow(
        "clear",
        (
            "in clear weather",
            "under a clear sky",
        ),
        ("clear weather", "clear sky"),
        (*_SKIES, "neon", "candle light"),
    ),
    WeatherRow(
        "rain",
        ("in the rain", "in rainy weather", "while it rains"),
        ("rain", "rainy weather"),
        ("day", "sunset", "night", "neon"),
        _rain,
        day_phrases=("on a rainy day",),
        overcast=0.75,
        dim=0.84,
        haze=0.15,
    ),
    WeatherRow(
        "snow",
        ("in falling snow", "while it snows", "in a snowfall"),
        ("falling snow", "snowfall", "snowflakes"),
        ("day", "dawn", "sunset", "night"),
        _snow,
        day_phrases=("on a snowy day",),
        overcast=0.55,
        dim=0.92,
        haze=0.12,
        whitens=0.8,
    ),
    WeatherRow(
        "fog",
        ("in the fog", "in the mist", "in foggy weather"),
        ("fog", "mist", "foggy weather"),
        ("day", "dawn", "sunset", "night", "moonlight"),
        _fog,
        day_phrases=("on a foggy day", "on a misty day"),
        overcast=0.45,
        dim=0.95,
        haze=0.4,
    ),
    WeatherRow(
        "storm",
        ("in a storm", "in a thunderstorm", "under dark clouds", "with lightning"),
        ("storm", "thunderstorm", "lightning"),
        ("day", "night"),
        _rain,
        overcast=0.9,
        dim=0.5,
        haze=0.1,
    ),
    WeatherRow(
        "rainbow",
        ("under a rainbow", "with a rainbow", "with a rainbow in the sky"),
        ("rainbow", "a rainbow in the sky"),
        ("day", "golden hour"),
        overcast=0.12,
    ),
)
WEATHERS: dict[str, WeatherRow] = {row.name: row for row in _ROWS}
