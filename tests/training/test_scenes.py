"""Scenes tell the truth: words match pixels, and held-out pairs never occur."""

import re

import numpy as np
import pytest

from flux1.training.mini.scenes import (
    Caption,
    Scene,
    Thing,
    caption,
    recolour,
    render,
    sample_scene,
)
from flux1.training.mini.vocabulary import (
    COLOURS,
    HELD_OUT_COLOURS,
    HELD_OUT_STYLES,
    NOUNS,
    plural,
    with_article,
)


def test_the_list_has_at_least_250_nouns_and_the_held_out_pairs_are_of_it():
    assert len(NOUNS) == len(set(NOUNS)) >= 250
    names = {c.name for c in COLOURS}
    assert all(n in NOUNS and c in names for n, c in HELD_OUT_COLOURS)
    assert all(n in NOUNS for n, _ in HELD_OUT_STYLES)


def test_held_out_pairs_never_occur_in_training():
    rng = np.random.default_rng(0)
    seen_colours, seen_styles = set(), set()
    for _ in range(30_000):
        scene = sample_scene(rng)
        seen_styles |= {(t.noun, scene.style) for t in scene.things}
        seen_colours |= {(t.noun, t.colour) for t in scene.things}
    assert not seen_colours & HELD_OUT_COLOURS
    assert not seen_styles & HELD_OUT_STYLES
    assert len(seen_colours) > 2000  # the check above saw most of what can occur


def test_the_named_background_surrounds_the_object(sprites):
    rng = np.random.default_rng(0)
    for colour in COLOURS:
        scene = Scene((Thing("fox", 0.5, 0.5, 0.7),), colour.name, "glossy")
        corner = render(scene, sprites, 64, 64, rng)[:4, :4].reshape(-1, 3).mean(axis=0)
        assert np.abs(corner - np.array(colour.rgb)).max() <= 6
        assert colour.name in caption(scene, rng).words or colour.name == "white"


SAID = {
    "left": ("left of",),
    "right": ("right of",),
    "above": ("above", "over", "on top of", "higher than", "atop"),
    "below": ("below", "under", "beneath", "underneath", "lower than"),
}


def _says(said: Caption, relation: str) -> bool:
    """Whether the words put the first thing on that side: by name of the place, or seen from the
    second; without a word of place, the first thing named stands on the left."""

    def has(phrase: str, within: str = said.words) -> bool:
        return re.search(rf"\b{phrase}\b", within) is not None

    if has("left") and has("right"):
        return relation in ("left", "right")
    if (has("top") and has("bottom")) or (has("above") and has("below")):
        return relation in ("above", "below")
    (_, behind_first), (second, end) = said.spans
    before = said.words[:end]  # behind both names "over" tells of the background
    if not any(has(phrase, before) for phrases in SAID.values() for phrase in phrases):
        return relation == "left" and behind_first < second
    return any(has(phrase, said.words[behind_first:second]) for phrase in SAID[relation])


@pytest.mark.parametrize("relation", ["left", "right", "above", "below"])
def test_the_first_named_thing_stands_where_the_caption_says(sprites, relation):
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(3000):
        scene = sample_scene(rng)
        if scene.relation != relation:
            continue
        a, b = scene.things
        assert {"left": a.x < b.x, "right": a.x > b.x, "above": a.y < b.y, "below": a.y > b.y}[
            relation
        ]
        said = caption(scene, rng)
        assert _says(said, relation), said
        found += 1
    assert found > 50


def test_recolouring_gives_the_named_colour_and_keeps_the_shape(sprites):
    drawing = sprites.rgba["glossy"][0]
    tinted = recolour(drawing, "purple")
    assert np.array_equal(tinted[..., 3], drawing[..., 3])
    r, g, b = tinted[tinted[..., 3] > 0][:, :3].mean(axis=0)
    assert b > r > g


def test_words_are_english():
    assert [plural(w) for w in ("fox", "mouse", "cherries", "cat")] == [
        "foxes",
        "mice",
        "cherries",
        "cats",
    ]
    assert with_article("orange cat", "cat") == "an orange cat"
    assert with_article("unicorn", "unicorn") == "a unicorn"
    assert with_article("umbrella", "umbrella") == "an umbrella"
    assert with_article("black jeans", "jeans") == "black jeans"
