"""The list that ships: it follows from the recipe, and captions hold no other word."""

import numpy as np
import pytest

from flux1 import FluxPipeline, make_request
from flux1.training.mini.scenes import Mixture, caption, sample_scene
from flux1.training.mini.words import learnt_words
from flux1.variants import FLUX_MINI, FLUX_MINI_SCHNELL
from flux1.weights.sources import locate


@pytest.mark.parametrize("variant", [FLUX_MINI, FLUX_MINI_SCHNELL], ids=lambda row: row.id)
def test_what_ships_is_what_the_recipe_says(variant):
    row = locate(variant).variant
    assert row.words == learnt_words()
    assert row.trained_sizes == ((256, 256),)


def test_captions_hold_known_words_only():
    words, rng = learnt_words(), np.random.default_rng(7)
    mixture = Mixture(0.3, 0.2, 0.2, 0.2, 0.1)
    found = (caption(sample_scene(rng, mixture), rng).words for _ in range(1500))
    assert [text for text in found if words.unknown(text)] == []


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a portrait of a woman", ["portrait", "woman"]),
        ("a cinematic sci-fi city at sunset", ["cinematic", "sci-fi", "city", "sunset"]),
        ("two pine trees and a kitten, 3D", []),
        ("a lion cub", ["cub"]),
    ],
)
def test_usual_prompts(prompt, unknown):
    assert learnt_words().unknown(prompt) == unknown


def test_flux_mini_names_what_is_near():
    pipe = FluxPipeline.from_pretrained("flux-mini")
    prompt = "samurai on couch, forest, elefant wtih dgo, cherry, portrait"
    assert pipe.notes(make_request(pipe.variant, prompt)) == (
        "words that flux-mini never learnt: samurai (nearest: sword), couch (nearest: chair), "
        "forest (nearest: tree), elefant (nearest: elephant), wtih (nearest: with), "
        "dgo (nearest: dog), cherry (nearest: cherries), portrait",
    )
