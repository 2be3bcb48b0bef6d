"""A recoloured drawing has the colour, and what should stay has stayed."""

import numpy as np
import pytest

from flux1.training.mini.world.colours import RGB, from_oklab, oklab, recolour

ORANGE, DARK_ORANGE, GREEN = (240, 130, 40), (170, 80, 20), (70, 160, 60)
BLACK, WHITE = (20, 20, 22), (252, 252, 252)
COLOURS = sorted(RGB)


def picture(*stripes: tuple[tuple[int, int, int], int]) -> np.ndarray:
    """Rows of full colour, each stripe so many rows high, within an empty frame."""
    rows = [np.full((height, 20, 4), (*rgb, 255), np.uint8) for rgb, height in stripes]
    return np.pad(np.concatenate(rows), ((3, 3), (3, 3), (0, 0)))


def stripe(rgba: np.ndarray, row: int) -> np.ndarray:
    return rgba[3 + row, 3:-3, :3].astype(int)


def test_oklab_gives_the_published_values_and_comes_back():
    red = oklab(np.array([255, 0, 0], np.uint8))
    white = oklab(np.array([255, 255, 255], np.uint8))
    np.testing.assert_allclose(red, [0.62796, 0.22486, 0.12585], atol=1e-4)
    np.testing.assert_allclose(white, [1, 0, 0], atol=1e-4)
    some = np.random.default_rng(0).integers(0, 256, (1000, 3), np.uint8)
    assert np.abs(from_oklab(oklab(some)).astype(int) - some).max() <= 3


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("body", [ORANGE, GREEN, (150, 150, 155), BLACK])
def test_a_plain_body_becomes_exactly_the_colour(colour, body):
    tinted = recolour(picture((body, 20)), colour)
    assert np.abs(stripe(tinted, 10) - RGB[colour]).max() <= 3


@pytest.mark.parametrize("colour", COLOURS)
def test_the_outline_of_the_alpha_and_the_empty_stay(colour):
    drawn = picture((ORANGE, 20))
    tinted = recolour(drawn, colour)
    assert (tinted[..., 3] == drawn[..., 3]).all()
    assert (tinted[drawn[..., 3] == 0] == 0).all()


@pytest.mark.parametrize("colour", COLOURS)
def test_black_lines_white_eyes_and_small_parts_of_another_hue_stay(colour):
    drawn = picture((ORANGE, 16), (BLACK, 2), (WHITE, 2), (GREEN, 3))
    tinted = recolour(drawn, colour)
    for row in (16, 18, 21):
        assert np.abs(stripe(tinted, row) - stripe(drawn, row)).max() <= 3


@pytest.mark.parametrize("colour", [c for c in COLOURS if c != "black"])
def test_shade_stays_darker_and_shine_lighter_than_the_body(colour):
    tinted = recolour(picture((DARK_ORANGE, 4), (ORANGE, 12), ((255, 190, 120), 4)), colour)
    shade, body, shine = (stripe(tinted, row).sum(axis=-1).mean() for row in (1, 9, 18))
    assert shade + 30 < body
    assert shine > body or colour == "white"


def test_a_grey_body_takes_the_colour_and_keeps_its_pink_nose():
    drawn = picture(((170, 175, 180), 18), ((240, 120, 150), 2))
    tinted = recolour(drawn, "blue")
    assert np.abs(stripe(tinted, 5) - RGB["blue"]).max() <= 3
    assert np.abs(stripe(tinted, 19) - (240, 120, 150)).max() <= 3
