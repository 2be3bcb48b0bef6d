"""Places, light and weather of scenes: pure, in range, and what their names promise."""

from itertools import combinations as pairs

import numpy as np
import pytest
from PIL import Image

from flux1.training.mini.world.places import (
    BACKGROUND_COLOURS,
    LIGHTS,
    PLACES,
    SURFACES,
    WEATHERS,
    Setting,
    backdrop,
    combinations,
    in_front,
    light_words,
    place_words,
    weather_words,
)

SHAPES = ((128, 128), (160, 96), (96, 160))
OUTSIDE = [name for name, row in PLACES.items() if "night" in row.lights and "fog" in row.weathers]


def setting(place: str, light: str = "day", weather: str = "clear", seed: int = 0) -> Setting:
    most = PLACES[place].colours[1]
    return Setting(place, light, weather, seed, tuple(BACKGROUND_COLOURS)[3 : 3 + most])


def drawn(which: Setting, width: int = 96, height: int = 96) -> np.ndarray:
    return in_front(which, backdrop(which, width, height).pixels)


@pytest.mark.parametrize("place", PLACES)
def test_every_combination_draws_at_every_shape(place: str) -> None:
    for seed, (light, weather) in enumerate(combinations(place)):
        width, height = SHAPES[seed % 3] if seed > 2 else SHAPES[seed]
        which = setting(place, light, weather, seed)
        behind = backdrop(which, width, height)
        scene = in_front(which, behind.pixels)
        for pixels in (behind.pixels, scene):
            assert pixels.shape == (height, width, 3)
            assert pixels.dtype == np.float32
            assert pixels.min() >= 0
            assert pixels.max() <= 1
        assert behind.grounds
        for ground in behind.grounds:
            assert 0 <= ground.top < ground.bottom <= 1
            assert ground.surface in SURFACES


@pytest.mark.parametrize("place", PLACES)
def test_same_setting_same_bytes_and_another_seed_another_picture(place: str) -> None:
    light, weather = list(combinations(place))[-1]
    which = setting(place, light, weather, 5)
    assert drawn(which).tobytes() == drawn(which).tobytes()
    seeds = [drawn(setting(place, light, weather, seed)) for seed in range(5)]
    for one, other in pairs(seeds, 2):
        assert np.abs(one - other).mean() > 0.004
    untouched = np.full((64, 64, 3), 0.5, np.float32)
    in_front(which, untouched)
    assert (untouched == 0.5).all()


def several(place: str, light: str, weather: str = "clear") -> np.ndarray:
    return np.stack([drawn(setting(place, light, weather, seed), 64, 64) for seed in range(5)])


@pytest.mark.parametrize("place", OUTSIDE)
def test_night_is_darker_than_day_and_fog_flatter_than_clear_air(place: str) -> None:
    day, night, fog = several(place, "day"), several(place, "night"), several(place, "day", "fog")
    assert night.mean() < 0.6 * day.mean()
    assert fog.std(axis=(1, 2)).mean() < 0.85 * day.std(axis=(1, 2)).mean()


def test_sunset_is_warmer_than_day_and_moonlight_is_blue() -> None:
    def warmth(light: str) -> float:
        scenes = several("sea", light)
        return float(scenes[..., 0].mean() - scenes[..., 2].mean())

    assert warmth("sunset") > 0.05 > -0.05 > warmth("day")
    assert warmth("golden hour") > 0.05
    assert warmth("moonlight") < -0.1


@pytest.mark.parametrize("name", BACKGROUND_COLOURS)
def test_a_plain_background_is_of_its_colour(name: str) -> None:
    """Nearer to its own colour than to that of any other name, by its mean."""
    shades = {
        colour: [[int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)] for code in codes]
        for colour, codes in BACKGROUND_COLOURS.items()
    }
    for seed in range(6):
        mean = drawn(Setting("plain", seed=seed, colours=(name,)), 32, 32).mean((0, 1))
        away = {
            colour: min(np.linalg.norm(mean - np.array(shade)) for shade in codes)
            for colour, codes in shades.items()
        }
        assert min(away, key=lambda colour: away[colour]) == name


def test_rain_and_snow_fall_before_the_things() -> None:
    grey = np.full((128, 128, 3), 0.3, np.float32)
    for weather, share in (("rain", 0.01), ("snow", 0.008), ("storm", 0.01), ("fog", 0.9)):
        light = WEATHERS[weather].lights[0]
        changed = np.abs(in_front(setting("field", light, weather), grey) - grey).max(-1) > 0.02
        assert changed.mean() > share
    assert (in_front(setting("field"), grey) == grey).all()


def test_pictures_have_no_fine_grain() -> None:
    """Shrunk four times and blown up again, a picture is still itself: what a small autoencoder
    can hold. A chessboard of single pixels would reach 6 dB."""
    for place in PLACES:
        light, weather = next(combinations(place))
        pixels = drawn(setting(place, light, weather, 3), 256, 256)
        image = Image.fromarray((pixels * 255).round().astype(np.uint8))
        coarse = np.asarray(image.reduce(4).resize(image.size, Image.Resampling.BICUBIC)) / 255
        assert -10 * np.log10(((coarse - pixels) ** 2).mean() + 1e-9) > 21, place


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ValueError, match="no place 'volcano'"):
        backdrop(Setting("volcano"), 64, 64)
    with pytest.raises(ValueError, match="space: night and clear do not go together"):
        backdrop(Setting("space", "night"), 64, 64)
    with pytest.raises(ValueError, match="plain takes 1 to 1 colours, not 0"):
        backdrop(Setting("plain"), 64, 64)
    with pytest.raises(ValueError, match="no colour 'mauve'"):
        backdrop(Setting("plain", colours=("mauve",)), 64, 64)


def test_the_light_of_things_follows_the_hour() -> None:
    day, night = (backdrop(setting("field", light), 64, 64).light for light in ("day", "night"))
    assert sum(night.tint) < 0.8 * sum(day.tint)
    assert night.ambient < day.ambient
    sides = {backdrop(setting("sea", "sunset", seed=s), 32, 32).light.direction for s in range(12)}
    assert sides == {"left", "right", "above"}


def test_every_row_has_words() -> None:
    for row in (*PLACES.values(), *LIGHTS.values(), *WEATHERS.values()):
        assert row.phrases
        assert row.nouns
        assert len(set(row.phrases)) == len(row.phrases)


def test_words_are_true_of_the_setting() -> None:
    clear, wet = setting("field", "night"), setting("field", "night", "rain")
    assert "under the stars" in light_words(clear).phrases
    assert "under the stars" not in light_words(wet).phrases
    assert "under the stars" not in light_words(setting("room", "night")).phrases
    assert "on a rainy day" not in weather_words(wet).phrases
    assert "on a rainy day" in weather_words(setting("field", "day", "rain")).phrases
    two = Setting("dots", colours=("pink", "white"))
    assert "on a pink background with white polka dots" in place_words(two).phrases
    assert all("pink" in words for words in place_words(Setting("dots", colours=("pink",))).nouns)
    assert light_words(two).phrases == weather_words(two).nouns == ()
