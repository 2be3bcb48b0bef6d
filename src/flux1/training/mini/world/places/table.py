"""The table of places: who paints each, what goes with it, and the words that name it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flux1.training.mini.world.places import (
    city,
    desert,
    field,
    forest,
    mountains,
    room,
    scifi,
    sea,
    snow,
    space,
    stage,
    street,
    studio,
    tabletop,
)
from flux1.training.mini.world.places.setting import Ground
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
        field.paint_field,
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
        snow.paint_snow,
        ("in the snow", "on a snowy hill", "in a winter landscape"),
        ("a snowy landscape", "a winter landscape", "snow"),
        _HOURS,
        ("clear", "snow", "fog"),
        sky=True,
    ),
    PlaceRow(
        "desert",
        desert.paint_desert,
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
