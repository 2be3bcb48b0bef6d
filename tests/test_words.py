"""Which words of a prompt a list does not hold, and what comes near."""

from dataclasses import replace

import numpy as np
import pytest

from flux1 import make_request
from flux1.notes import MOST_WORDS, Notes
from flux1.request import LoraUse
from flux1.variants import FLUX_DEV, FLUX_MINI
from flux1.words import Meanings, Vocabulary
from worded import KNOWN, SAID, UNKNOWN, WORDS

VECTORS = {"fox": (1, 0), "teddy bear": (0, 1), "wolf": (0.9, 0.1), "fog": (0.5, 0.5)}
WHOLE = ("fox", "wolf", "zebra")  # what the encoder has in one piece


def encode(texts):
    """Two directions; what is not known to it lies between them, turned away."""
    return [(np.array(VECTORS.get(t, (-1, 0))), 3 if t in WHOLE else 5) for t in texts]


FEW = replace(WORDS, nouns=WORDS.nouns[:2], places=(), colours=())
ROW = replace(FLUX_MINI, words=FEW, trained_sizes=((256, 256), (320, 192)))


@pytest.fixture
def notes():
    return Notes(ROW, encode)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        (KNOWN, []),
        (UNKNOWN, SAID),
        ("fox, FOX; (fox:1.2) “fox”!", ["1", "2"]),
        ("foxes, vixens, mice, leaves, teddies", []),
        ("teddybears, teddy bear, teddy-bear, Teddy Bears", []),
        ("a fire truck, a fire-truck, fire trucks", []),
        ("a cherry-red fox", []),
        ("a cherry fox in red snow", ["cherry"]),
        ("a bear", ["bear"]),
        ("17 foxes, three mice, 3 mice", ["17"]),
        ("the fox\u2019s leaf, the foxes' leaves", []),
        ("Ein großer Fuchs", ["Ein", "großer", "Fuchs"]),
        ("blue-eyed", ["eyed"]),
        ("zorb, sci-fi, sci, Zorb", ["Zorb", "sci-fi", "sci"]),
        ("", []),
        ("🦊 ?!", []),
    ],
)
def test_words_that_are_not_on_the_list(text, unknown):
    assert WORDS.unknown(text) == unknown


@pytest.mark.parametrize(
    ("word", "alike"),
    [("firetruk", "firetruck"), ("tedy", "teddy"), ("xof", "fox"), ("zorb", None)],
)  # fmt: skip
def test_slips_of_the_keyboard(word, alike):
    assert WORDS.alike(word) == alike


def test_an_empty_list_knows_nothing_and_finds_nothing_near():
    assert Vocabulary().unknown("a fox") == ["a", "fox"]
    assert Meanings(Vocabulary(), encode).nearest("fox") is None


def test_near_is_what_is_spelt_or_meant_so(notes):
    request = make_request(FLUX_MINI, "a wolf and a tedy in a zebra in fog")
    assert notes(request) == (
        "words that flux-mini never learnt: wolf (nearest: fox), tedy (nearest: teddy), zebra, "
        "fog (nearest: fox)",
    )


def test_known_words_at_a_trained_size_give_nothing(notes):
    assert notes(make_request(FLUX_MINI, "a fox and the teddy bears", width=320, height=192)) == ()


def test_another_size_is_said(notes):
    request = make_request(FLUX_MINI, "a fox", width=192, height=320)
    assert notes(request) == ("flux-mini was trained at 256x256, 320x192, not at 192x320",)


def test_without_an_encoder_nothing_is_near():
    assert Notes(ROW, None)(make_request(FLUX_MINI, "a wolf, a tedy")) == (
        "words that flux-mini never learnt: wolf, tedy",
    )


def test_a_lora_may_have_taught_any_word(notes):
    assert notes(make_request(FLUX_MINI, "a zorb", loras=[LoraUse("zorb.safetensors")])) == ()


def test_of_many_words_some_are_listed(notes):
    many = " ".join(f"zorb{number}" for number in range(MOST_WORDS + 5))
    (line,) = notes(make_request(FLUX_MINI, many))
    assert line.endswith(f"zorb{MOST_WORDS - 1}, and 5 more")


def test_a_model_without_a_list_says_nothing():
    asked = make_request(FLUX_DEV, "a zorb", width=512, height=256)
    assert Notes(FLUX_DEV, encode)(asked) == ()
