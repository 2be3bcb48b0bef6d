"""Styles that are made from any drawing are what their names say."""

import numpy as np
import pytest

from flux1.training.mini.world.sets import SETS
from flux1.training.mini.world.styles import STYLES, outline_tells, pixel_art, silhouette


@pytest.fixture
def ball() -> np.ndarray:
    """A shaded ball in an empty frame, 192 pixels wide and 150 high."""
    y, x = np.mgrid[-1:1:150j, -1:1:192j]
    inside = x**2 + y**2 < 0.9
    light = (200 - 60 * (x + y)).clip(0, 255)
    return np.stack([light, light / 2, light / 3, inside * 255], axis=-1).astype(np.uint8)


def test_every_set_is_drawn_in_a_style_and_every_style_is_drawn_or_made():
    drawn = {row.style for row in SETS.values()}
    assert drawn <= set(STYLES)
    assert {name for name, style in STYLES.items() if not style.made} <= drawn


def test_no_word_names_two_styles():
    words = [word for style in STYLES.values() for word in style.words]
    assert len(words) == len(set(words))


def test_a_silhouette_has_the_shape_and_one_colour(ball):
    shape = silhouette(ball, (10, 20, 30))
    assert (shape[..., 3] == ball[..., 3]).all()
    assert (shape[..., :3] == (10, 20, 30)).all()


def test_a_box_and_an_oval_are_not_known_by_their_outlines(ball):
    box = np.full((60, 120, 4), 255, np.uint8)
    ring, cross = ball[6:-6, 6:-6], box.copy()
    cross[:40, :40] = cross[:40, -40:] = 0
    assert [outline_tells(shape) for shape in (box, ring, cross)] == [False, False, True]


@pytest.mark.parametrize("cells", [20, 24, 28])
def test_pixel_art_is_of_equal_squares_and_few_colours(ball, cells):
    art = pixel_art(ball, cells, colours=6)
    factor = round(192 / cells)
    assert art.shape == (round(150 * cells / 192) * factor, cells * factor, 4)
    squares = art.reshape(-1, factor, cells, factor, 4)
    assert (squares == squares[:, :1, :, :1]).all()
    assert set(np.unique(art[..., 3])) == {0, 255}
    assert len(np.unique(art[art[..., 3] == 255], axis=0)) <= 6


def test_pixel_art_looks_like_the_drawing_from_afar(ball):
    art = pixel_art(ball, 24, colours=12)
    step = art.shape[1] // 24
    centre = art[art.shape[0] // 2, 12 * step, :3].astype(int)
    assert np.abs(centre - ball[75, 96, :3]).max() < 25
