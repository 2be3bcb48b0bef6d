"""Words that are true of a setting, for captions."""

from dataclasses import dataclass

from flux1.training.mini.world.places.lights import LIGHTS
from flux1.training.mini.world.places.setting import Setting
from flux1.training.mini.world.places.table import PLACES
from flux1.training.mini.world.places.weathers import WEATHERS


@dataclass(frozen=True)
class Words:
    """`phrases` follow a noun ("at night"), `nouns` stand alone ("night"). Both are empty where
    there is nothing to say, as of the light in a place that has but one."""

    phrases: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()


def place_words(setting: Setting) -> Words:
    """Words for the place, with the setting's colours in their places."""
    row, colours = PLACES[setting.place], setting.colours
    paired = len(colours) == 2 and bool(row.pair_phrases)
    phrases, nouns = (row.pair_phrases, row.pair_nouns) if paired else (row.phrases, row.nouns)
    return Words(
        tuple(words.format(*colours) for words in phrases),
        tuple(words.format(*colours) for words in nouns),
    )


def light_words(setting: Setting) -> Words:
    """Words for the light; of the sky only where it is seen and no cloud hides it."""
    row, place = LIGHTS[setting.light], PLACES[setting.place]
    if len(place.lights) == 1:
        return Words()
    if place.sky and WEATHERS[setting.weather].overcast < 0.3:
        return Words(row.phrases + row.clear_phrases, row.nouns + row.clear_nouns)
    return Words(row.phrases, row.nouns)


def weather_words(setting: Setting) -> Words:
    """Words for the weather; those that say "day" by day alone."""
    row = WEATHERS[setting.weather]
    if len(PLACES[setting.place].weathers) == 1:
        return Words()
    return Words(row.phrases + (row.day_phrases if setting.light == "day" else ()), row.nouns)
