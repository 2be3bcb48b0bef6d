"""Scenes: what a picture of the world shows, before pixels and words are made of it.

A scene is a setting (place, light and weather) and the things in it. `compose.py` draws it,
`captions.py` describes it, and benchmarks know from it what is true.
"""

from dataclasses import dataclass, fields

from pydantic import ConfigDict

from flux1.training.mini.world.places.setting import Setting

# Relations of the first thing, seen from the second ("between": from the two others).
SIDES = ("left", "right", "above", "below")
LAYERS = ("in front of", "behind", "on", "inside", "between", "wearing", "holding", "riding")


@dataclass(frozen=True)
class Thing:
    """One drawing in a scene.

    `x` and `y` are the centre of its box as fractions of the picture's width and height; `size` is
    the longer side of the box as a fraction of the picture's shorter side; `turned` is in degrees,
    counterclockwise. `surface` is what it stands on or floats in. Of two things that overlap, the
    one of the higher `layer` is in front.
    """

    noun: str
    drawing: str
    x: float
    y: float
    size: float
    surface: str
    colour: str | None = None
    mirrored: bool = False
    turned: float = 0.0
    layer: int = 0


@dataclass(frozen=True)
class Scene:
    """The contents of a picture. `style` is that of all its drawings, if they share one ("pixel
    art" is made of any); `relation` is one of `SIDES` or `LAYERS`; a `portrait` is a head, or
    one with its shoulders; the things of a `motif` are repeated all over the picture."""

    setting: Setting
    things: tuple[Thing, ...] = ()
    style: str | None = None
    relation: str | None = None
    portrait: bool = False
    motif: bool = False


@dataclass(frozen=True)
class Mixture:
    """Shares of the kinds of scenes; they add up to 1.

    `empty` is a place alone; `single` one thing; `coloured` one thing in a colour; `pair` two
    things side by side or above one another; `painted` a pair, both in a colour; `count` two to
    five of a kind; `triple` three things in a row; `layered` things in front of, on, inside, worn
    by, held by or riding one another; `motif` a pattern of one or two things.
    """

    empty: float = 0.10
    single: float = 0.40
    coloured: float = 0.14
    pair: float = 0.12
    painted: float = 0.06
    count: float = 0.09
    triple: float = 0.03
    layered: float = 0.05
    motif: float = 0.01
    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        shares = list(self.shares().values())
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"shares must be at least 0 and add up to 1, not {sum(shares):g}")

    def shares(self) -> dict[str, float]:
        """The share of each kind by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
