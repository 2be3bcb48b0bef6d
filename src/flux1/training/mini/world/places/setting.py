"""The data that go into a backdrop and come out of it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

# Where a thing may be. On the first five it stands and casts a shadow; in the rest it floats.
STANDING = ("ground", "floor", "table", "road", "water surface")
FLOATING = ("under water", "sky", "space", "air", "wall")
SURFACES = STANDING + FLOATING


@dataclass(frozen=True)
class Setting:
    """The place and time of a scene. All that is random about its picture follows from `seed`.

    `place`, `light` and `weather` are keys of `PLACES`, `LIGHTS` and `WEATHERS`; `colours` are
    names of `BACKGROUND_COLOURS`, as many as the place takes.
    """

    place: str
    light: str = "day"
    weather: str = "clear"
    seed: int = 0
    colours: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ground:
    """A band of the picture in which things may be: `top` and `bottom` are fractions of its
    height, `surface` is one of `SURFACES`. Feet nearer to `top` are farther away."""

    top: float
    bottom: float
    surface: str


@dataclass(frozen=True)
class Lighting:
    """The light of a place on the things in it; colours are red, green, blue in 0..1.

    `tint` multiplies a thing's colours, `ambient` is the light's level (1 is day), `direction`
    ("left", "right" or "above") is where the light comes from, `shadow` the opacity of a cast
    shadow of `shadow_colour`, and `glow` the colour of light on a thing's edge.
    """

    tint: tuple[float, float, float]
    ambient: float
    direction: str
    shadow: float
    shadow_colour: tuple[float, float, float]
    glow: tuple[float, float, float]


@dataclass(frozen=True)
class Backdrop:
    """The picture behind the things of a scene: float32 pixels in 0..1, the bands in which
    things may be (the first is the usual one), and the light on them."""

    pixels: Float[np.ndarray, "h w 3"]
    grounds: tuple[Ground, ...]
    light: Lighting
