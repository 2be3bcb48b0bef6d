"""Sizes for pictures of every shape, against what is promised of them."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from flux1.training.finetune.sizes import fit, fitted

SIDES = st.sampled_from([128, 256, 512, 768, 1024])


@given(st.integers(1, 6000), st.integers(1, 6000), SIDES)
def test_a_size_is_of_whole_tokens_within_the_area_and_never_enlarged(width, height, side):
    found = fit(width, height, side, 16)
    if width * height < side * side / 4:
        assert found is None
        return
    assume(found is not None)
    assert found.width % 16 == found.height % 16 == 0
    assert found.width * found.height <= side * side
    assert found.width <= width
    assert found.height <= height
    assert max(found.sides) <= 4 * min(found.sides)


@given(st.integers(300, 6000), st.integers(300, 6000), st.sampled_from([128, 256]))
def test_little_of_a_usual_picture_is_cut_off_and_little_of_the_area_lost(width, height, side):
    assume(1 / 2 <= width / height <= 2)
    found = fit(width, height, side, 16)
    assert found.cropped <= 0.17
    assert found.width * found.height >= 0.7 * side * side


def test_a_picture_of_the_wanted_size_keeps_it():
    assert fit(128, 128, 128, 16).sides == (128, 128)
    assert fit(4000, 3000, 1024, 16).sides == (1152, 896)


def test_the_share_that_is_cut_off_is_told():
    found = fit(1000, 100, 128, 16)
    kept = found.width / found.height * 100 / 1000
    assert found.cropped == pytest.approx(1 - kept)
    assert found.cropped > 0.5


def test_the_middle_of_a_picture_is_what_is_kept():
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, 40:80] = 255
    middle = np.asarray(fitted(Image.fromarray(pixels), (40, 40)))
    assert middle[:, 4:-4].min() > 250
    assert math.prod(middle.shape) == 40 * 40 * 3
