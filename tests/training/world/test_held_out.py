"""What is held out exists in the vocabulary, and is left in enough other pairs to be learnt."""

from collections import Counter

import pytest

from flux1.training.mini.world.colours import RGB
from flux1.training.mini.world.drawings import style_of
from flux1.training.mini.world.held_out import HELD_OUT_COLOURS, HELD_OUT_PLACES, HELD_OUT_STYLES
from flux1.training.mini.world.nouns import nouns
from flux1.training.mini.world.places import PLACES
from flux1.training.mini.world.styles import STYLES


@pytest.mark.parametrize(
    ("pairs", "words", "size"),
    [
        (HELD_OUT_COLOURS, set(RGB), 30),
        (HELD_OUT_STYLES, set(STYLES), 20),
        (HELD_OUT_PLACES, set(PLACES), 30),
    ],
)
def test_held_out_pairs_are_of_the_vocabulary_and_about_as_many_as_planned(pairs, words, size):
    assert {noun for noun, _ in pairs} <= set(nouns())
    assert {word for _, word in pairs} <= words
    assert size <= len(pairs) <= 1.25 * size
    assert max(Counter(noun for noun, _ in pairs).values()) <= 2


def test_a_held_out_style_can_be_drawn_and_leaves_the_noun_other_styles():
    for noun, style in HELD_OUT_STYLES:
        drawn = {style_of(name) for name, _ in nouns()[noun].drawings}
        assert STYLES[style].made or style in drawn, (noun, style)
        assert len(drawn - {style}) >= 2, (noun, style)


def test_a_held_out_colour_is_one_that_may_be_said_of_the_noun():
    assert all(nouns()[noun].tints for noun, _ in HELD_OUT_COLOURS)
