"""The table of places, and how a setting becomes a picture."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from flux1.training.mini.world.places import (
    city,
    country,
    forest,
    mountains,
    room,
    scifi,
    sea,
    space,
    stage,
    street,
    studio,
    tabletop,
)
from flux1.training.mini.world.places.air import make_air
from flux1.training.mini.world.places.canvas import Canvas
from flux1.training.mini.world.places.colours import BACKGROUND_COLOURS, rgb
from flux1.training.mini.world.places.lights import LIGHTS
from flux1.training.mini.world.places.setting import Backdrop, Ground, Lighting, Setting
from flux1.training.mini.world.places.sketch import Sketch
from flux1.training.mini.world.places.weathers import WEATHERS

_HOURS = ("day", "dawn", "sunset", "golden hour", "night", "moonlight")
_OUTSIDE = ("clear", "rain", "snow", "fog", "storm", "rainbow")
_MILD = ("clear", "rain", "fog", "storm", "rainbow")


@dataclass(frozen=True)
class PlaceRow:
    """One place. `phrases` follow a noun in a caption ("on the beach"), `nouns` name the place
    alone ("a beach"). `lights` and `weathers` are those that go with it (a place with one light
    and one weather has its own, and captions say none); `colours` are the fewest and the most
    colours that a setting names for it, the `pair_` words name both. `sky` says whether the sky
    is seen."""

    name: str
    paint: Callable[[Sketch], tuple[Ground, ...]]
    phrases: tuple[str, ...]
    nouns: tuple[str, ...]
    lights: tuple[str, ...] = ("day",)
    weathers: tuple[str, ...] = ("clear",)
    colours: tuple[int, int] = (0, 0)
    sky: bool = False
    pair_phrases: tuple[str, ...] = ()
    pair_nouns: tuple[str, ...] = ()


_ROWS = (
    PlaceRow(
        "plain", studio.paint_plain, ("on a {0} background",), ("a {0} background",), colours=(1, 1)
    ),
    PlaceRow(
        "gradient",
        studio.paint_gradient,
        ("on a {0} and {1} gradient", "on a background that fades from {0} to {1}"),
        ("a {0} and {1} gradient",),
        colours=(2, 2),
    ),
    PlaceRow(
        "stripes",
        studio.paint_stripes,
        ("on a striped {0} background", "on {0} stripes"),
        ("{0} stripes",),
        colours=(1, 2),
        pair_phrases=("on {0} and {1} stripes", "on a background of {0} and {1} stripes"),
        pair_nouns=("{0} and {1} stripes",),
    ),
    PlaceRow(
        "dots",
        studio.paint_dots,
        ("on a {0} background with polka dots", "on a dotted {0} background"),
        ("{0} polka dots",),
        colours=(1, 2),
        pair_phrases=("on a {0} background with {1} polka dots", "on {0} with {1} dots"),
        pair_nouns=("{1} polka dots on {0}",),
    ),
    PlaceRow(
        "checks",
        studio.paint_checks,
        ("on a checkered {0} background", "on {0} checks"),
        ("{0} checks",),
        colours=(1, 2),
        pair_phrases=("on {0} and {1} checks", "on a {0} and {1} checkered background"),
        pair_nouns=("{0} and {1} checks",),
    ),
    PlaceRow(
        "confetti",
        studio.paint_confetti,
        ("on a {0} background with confetti", "among confetti on {0}"),
        ("confetti on {0}",),
        colours=(1, 1),
    ),
    PlaceRow(
        "mountains",
        mountains.paint_mountains,
        ("in front of mountains", "in the mountains", "before a mountain range"),
        ("mountains", "a mountain landscape", "a mountain range"),
        _HOURS,
        _OUTSIDE,
        sky=True,
    ),
    PlaceRow(
        "lake",
        mountains.paint_mountain_lake,
        ("at a lake", "on a lake", "at a mountain lake", "on a calm lake"),
        ("a lake", "a mountain lake", "a calm lake"),
        _HOURS,
        _MILD,
        sky=True,
    ),
    PlaceRow(
        "sea",
        sea.paint_open_sea,
        ("on the sea", "at sea", "on the ocean"),
        ("the sea", "the ocean", "the open sea"),
        _HOURS,
        _MILD,
        sky=True,
    ),
    PlaceRow(
        "beach",
        sea.paint_beach,
        ("on the beach", "on a sandy beach", "at the seaside"),
        ("a beach", "a sandy beach", "the seaside"),
        _HOURS,
        _MILD,
        sky=True,
    ),
    PlaceRow(
        "under water",
        sea.paint_under_water,
        ("under water", "underwater", "at the bottom of the sea", "in the deep sea"),
        ("the underwater world", "a coral reef", "the deep sea"),
    ),
    PlaceRow(
        "field",
        country.paint_field,
        ("in a field", "in a meadow", "on a green meadow", "in the countryside"),
        ("a meadow", "a field", "the countryside"),
        _HOURS,
        _OUTSIDE,
        sky=True,
    ),
    PlaceRow(
        "forest",
        forest.paint_forest,
        ("in a forest", "in the woods", "among trees"),
        ("a forest", "the woods", "a forest glade"),
        _HOURS,
        ("clear", "rain", "snow", "fog"),
    ),
    PlaceRow(
        "snow",
        country.paint_snow,
        ("in the snow", "on a snowy hill", "in a winter landscape"),
        ("a snowy landscape", "a winter landscape", "snow"),
        _HOURS,
        ("clear", "snow", "fog"),
        sky=True,
    ),
    PlaceRow(
        "desert",
        country.paint_desert,
        ("in the desert", "among sand dunes", "in a sandy desert"),
        ("a desert", "the desert", "sand dunes"),
        _HOURS,
        ("clear", "storm"),
        sky=True,
    ),
    PlaceRow(
        "city",
        city.paint_city,
        ("in a city", "in the city", "before a city skyline", "in front of skyscrapers"),
        ("a city", "a city skyline", "skyscrapers", "a modern city"),
        (*_HOURS, "neon"),
        _OUTSIDE,
        sky=True,
    ),
    PlaceRow(
        "sci-fi city",
        scifi.paint_scifi_city,
        (
            "in a sci-fi city",
            "in a futuristic city",
            "in a city of the future",
            "in a cyberpunk city",
        ),
        ("a sci-fi city", "a futuristic city", "a cyberpunk city", "a city of the future"),
        ("day", "dawn", "sunset", "golden hour", "night", "neon"),
        ("clear", "rain", "fog"),
        sky=True,
    ),
    PlaceRow(
        "street",
        street.paint_street,
        ("on a street", "in the street", "on a city street", "on a road in a town"),
        ("a street", "a city street", "a row of houses"),
        (*_HOURS, "neon"),
        ("clear", "rain", "snow", "fog"),
        sky=True,
    ),
    PlaceRow(
        "room",
        room.paint_room,
        ("in a room", "in a cosy room", "in a living room", "indoors"),
        ("a room", "a cosy room", "a living room"),
        ("day", "sunset", "night", "candle light"),
    ),
    PlaceRow(
        "table",
        tabletop.paint_table,
        ("on a table", "on top of a table", "on a table top"),
        ("a table", "a table top"),
        ("day", "sunset", "night", "candle light"),
    ),
    PlaceRow(
        "stage",
        stage.paint_stage,
        ("on a stage", "in the spotlight", "on a theatre stage"),
        ("a stage", "a theatre stage"),
    ),
    PlaceRow(
        "moon",
        space.paint_moon,
        ("on the moon", "on another planet", "on an alien planet"),
        ("the moon", "the surface of the moon", "an alien planet"),
    ),
    PlaceRow(
        "space",
        space.paint_space,
        ("in space", "in outer space", "among the stars", "in the galaxy"),
        ("outer space", "space", "a galaxy", "planets and stars"),
    ),
)
PLACES: dict[str, PlaceRow] = {row.name: row for row in _ROWS}


def combinations(place: str) -> Iterator[tuple[str, str]]:
    """Every light and weather that go together in a place."""
    row = PLACES[place]
    for weather in row.weathers:
        for light in row.lights:
            if light in WEATHERS[weather].lights:
                yield light, weather


def backdrop(setting: Setting, width: int, height: int) -> Backdrop:
    """Paint what lies behind the things; the same setting and size give the same bytes. Raises
    ValueError for what is no place, light, weather or colour, or does not go together."""
    _check(setting)
    air = make_air(_chance(setting, "air"), setting.light, setting.weather)
    rng = _chance(setting, "place")
    sketch = Sketch(Canvas(width, height), air, rng, setting.colours)
    grounds = PLACES[setting.place].paint(sketch)
    pixels, light = sketch.canvas.pixels, air.lighting()
    if rng.random() < 0.5:
        pixels, light = np.ascontiguousarray(pixels[:, ::-1]), _mirrored(light)
    return Backdrop(np.clip(pixels, 0, 1), grounds, light)


def in_front(setting: Setting, pixels: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """The finished scene with what lies before it: rain, snow or fog, and the dark corners of
    candle light."""
    height, width = pixels.shape[:2]
    canvas = Canvas(width, height)
    canvas.pixels[:] = pixels
    light, weather = LIGHTS[setting.light], WEATHERS[setting.weather]
    shine = rgb(light.things) * np.float32(min(1.0, 0.45 + light.ambient) * weather.dim)
    weather.before(canvas, _chance(setting, "front"), shine)
    if light.corners:
        _darken_corners(canvas, light.corners)
    return canvas.pixels


def _darken_corners(canvas: Canvas, strength: float) -> None:
    """Let the light fall off towards the corners, as that of a candle does."""
    x, y = 2 * canvas.x[None] - 1, 2 * canvas.y[:, None] - 1
    canvas.pixels *= (1 - np.float32(strength) * (x * x + y * y) / 2)[..., None]


def _chance(setting: Setting, part: str) -> np.random.Generator:
    """A part's own stream of chance: the same place by day and by night keeps its shape."""
    names = {
        "air": setting.light + setting.weather,
        "place": setting.place,
        "front": setting.weather,
    }
    return np.random.default_rng([setting.seed, zlib.crc32(f"{part} {names[part]}".encode())])


def _mirrored(light: Lighting) -> Lighting:
    other = {"left": "right", "right": "left", "above": "above"}
    return replace(light, direction=other[light.direction])


def _check(setting: Setting) -> None:
    _known("place", setting.place, PLACES)
    _known("light", setting.light, LIGHTS)
    _known("weather", setting.weather, WEATHERS)
    for colour in setting.colours:
        _known("colour", colour, BACKGROUND_COLOURS)
    if (setting.light, setting.weather) not in tuple(combinations(setting.place)):
        fitting = ", ".join(
            f"{light} and {weather}" for light, weather in combinations(setting.place)
        )
        raise ValueError(
            f"{setting.place}: {setting.light} and {setting.weather} do not go together here; "
            f"these do: {fitting}"
        )
    fewest, most = PLACES[setting.place].colours
    if not fewest <= len(setting.colours) <= most:
        raise ValueError(
            f"{setting.place} takes {fewest} to {most} colours, not {len(setting.colours)}"
        )


def _known(kind: str, name: str, rows: dict) -> None:
    if name not in rows:
        raise ValueError(f"no {kind} {name!r}; there are {', '.join(rows)}")
