"""Light by the hour: skies, tints, what hangs in the sky, and the words that name it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LightRow:
    """One light. `skies` are gradients from the zenith to the horizon, one is chosen; `surfaces`
    and `things` multiply the colours of a place and of the things in it; `ambient` is its level;
    `body` is what shines in the sky ("sun", "low sun", "moon" or nothing); `phrases` follow a
    noun in a caption, `nouns` stand in lists of words, both true in every weather; the `clear_`
    ones are true only where a clear sky is seen. `corners` is how much darker the picture's
    corners are, `beams` the strength of its rays in the haze of a city."""

    name: str
    skies: tuple[tuple[str, ...], ...]
    surfaces: str
    things: str
    ambient: float
    glow: str
    phrases: tuple[str, ...]
    nouns: tuple[str, ...]
    body: str | None = None
    stars: int = 0
    lamps: bool = False
    corners: float = 0.0
    beams: float = 1.0
    clear_phrases: tuple[str, ...] = ()
    clear_nouns: tuple[str, ...] = ()


_ROWS = (
    LightRow(
        "day",
        (
            ("#3b8be0", "#79bdf2", "#cfeafa"),
            ("#2f7fd6", "#64b0f0", "#b9e2f8"),
            ("#58a8e6", "#98d0f5", "#e6f4fb"),
            ("#4a90d9", "#8cc4ee", "#f1efe2"),
            ("#3aa5d8", "#80d0ea", "#d9f3f2"),
        ),
        surfaces="#ffffff",
        things="#ffffff",
        ambient=1.0,
        glow="#fffbe8",
        phrases=("by day", "in daylight", "during the day"),
        nouns=("daylight", "daytime"),
        clear_phrases=("on a sunny day", "under a blue sky"),
        clear_nouns=("a sunny day", "blue sky"),
        body="sun",
    ),
    LightRow(
        "dawn",
        (
            ("#6d83c4", "#c9a0c9", "#fbd0b0"),
            ("#5a6bb0", "#b88cc0", "#f9bfa6"),
            ("#7fb0d8", "#dfbfd0", "#fde3c8"),
            ("#8596d8", "#e6aac0", "#ffdcb8"),
        ),
        surfaces="#d8c4d6",
        things="#fbe4ea",
        ambient=0.85,
        glow="#ffd9c4",
        phrases=("at dawn", "at sunrise", "early in the morning", "at daybreak"),
        nouns=("dawn", "sunrise", "morning light"),
        body="low sun",
    ),
    LightRow(
        "sunset",
        (
            ("#3a2468", "#b8446f", "#ff9a4a"),
            ("#2d2a6e", "#cf566a", "#ffb357"),
            ("#51247a", "#e2505f", "#ffc75c"),
            ("#1f2f66", "#a8567d", "#ff8f50"),
            ("#45307e", "#d9607c", "#ffae78"),
            ("#7a2450", "#e25a3c", "#ffc04a"),
        ),
        surfaces="#bc8488",
        things="#ffd0b4",
        ambient=0.7,
        glow="#ffb070",
        phrases=("at sunset", "in the evening", "at dusk"),
        nouns=("sunset", "evening light"),
        clear_phrases=("under a red sky", "in the setting sun"),
        clear_nouns=("a red sky", "evening sun"),
        body="low sun",
    ),
    LightRow(
        "golden hour",
        (
            ("#86aecb", "#f0cf9c", "#ffe3a4"),
            ("#9ab4c4", "#f5c98b", "#ffdc90"),
            ("#c9a77c", "#f3c77c", "#ffe6a0"),
            ("#7ba6d0", "#f6d7a8", "#ffd27a"),
        ),
        surfaces="#f6d6aa",
        things="#ffe6b4",
        ambient=0.9,
        glow="#ffd070",
        phrases=("at golden hour", "in golden light", "in the golden hour", "in warm sunlight"),
        nouns=("golden hour", "golden light", "warm sunlight"),
        body="low sun",
        beams=0.65,
    ),
    LightRow(
        "night",
        (
            ("#070b22", "#0f1a3e", "#223061"),
            ("#060a1c", "#121c46", "#2c3268"),
            ("#0b0822", "#1c164a", "#3a2c6b"),
            ("#041020", "#0c2440", "#1c4662"),
        ),
        surfaces="#445284",
        things="#98a2d4",
        ambient=0.35,
        glow="#8ca0ff",
        phrases=("at night", "by night", "in the dark"),
        nouns=("night", "night time"),
        clear_phrases=("under the stars", "under a starry sky"),
        clear_nouns=("a starry night", "a night sky"),
        stars=30,
        lamps=True,
    ),
    LightRow(
        "moonlight",
        (
            ("#0a1433", "#1b3264", "#44629c"),
            ("#0c1c3e", "#20406f", "#5277a8"),
            ("#101238", "#28306e", "#5a64a8"),
        ),
        surfaces="#5f78ae",
        things="#a4b4e4",
        ambient=0.45,
        glow="#cfdcff",
        phrases=("by moonlight", "in the moonlight", "in moonlight"),
        nouns=("moonlight", "moonlit night"),
        clear_phrases=("under a full moon",),
        clear_nouns=("a full moon", "the moon"),
        body="moon",
        stars=12,
        lamps=True,
    ),
    LightRow(
        "neon",
        (
            ("#0d0524", "#3a0f5e", "#a0217e"),
            ("#05102e", "#12345f", "#1f8f9f"),
            ("#12062e", "#4c1270", "#ee4488"),
            ("#0a0630", "#2c1a7c", "#7a3cd8"),
        ),
        surfaces="#6a4c98",
        things="#d8a8f4",
        ambient=0.5,
        glow="#ff5cd0",
        phrases=("in neon light", "lit by neon", "with neon lights", "in neon colours"),
        nouns=("neon lights", "neon", "neon glow"),
        lamps=True,
    ),
    LightRow(
        "candle light",
        (("#0c1024", "#182044", "#2c3460"),),
        surfaces="#d08a4c",
        things="#ffcf94",
        ambient=0.55,
        glow="#ffae50",
        phrases=("by candle light", "in candlelight", "lit by candles", "by candlelight"),
        nouns=("candle light", "candlelight", "candles"),
        lamps=True,
        corners=0.5,
    ),
)
LIGHTS: dict[str, LightRow] = {row.name: row for row in _ROWS}
