"""Places, light and weather: what lies behind the things of a scene, and in front of them."""

from flux1.training.mini.world.places.colours import BACKGROUND_COLOURS
from flux1.training.mini.world.places.lights import LIGHTS, LightRow
from flux1.training.mini.world.places.paint import backdrop, in_front
from flux1.training.mini.world.places.setting import (
    FLOATING,
    STANDING,
    SURFACES,
    Backdrop,
    Ground,
    Lighting,
    Setting,
)
from flux1.training.mini.world.places.table import PLACES, PlaceRow, combinations
from flux1.training.mini.world.places.weathers import WEATHERS, WeatherRow
from flux1.training.mini.world.places.words import (
    Words,
    light_words,
    place_words,
    weather_words,
)

__all__ = [
    "BACKGROUND_COLOURS",
    "FLOATING",
    "LIGHTS",
    "PLACES",
    "STANDING",
    "SURFACES",
    "WEATHERS",
    "Backdrop",
    "Ground",
    "LightRow",
    "Lighting",
    "PlaceRow",
    "Setting",
    "WeatherRow",
    "Words",
    "backdrop",
    "combinations",
    "in_front",
    "light_words",
    "place_words",
    "weather_words",
]
