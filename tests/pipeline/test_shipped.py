"""The model in the package: whole, within its size, and doing what it is asked."""

from importlib import resources

import numpy as np
import pytest

from flux1 import FluxPipeline
from flux1.training.vocabulary import COLOURS, NOUNS


@pytest.fixture(scope="module")
def mini():
    return FluxPipeline.from_pretrained("flux-mini")


def test_all_its_parts_together_are_at_most_40_mb():
    folder = resources.files("flux1") / "shipped" / "flux-mini"
    sizes = {f.name: len(f.read_bytes()) for f in folder.iterdir()}
    assert sizes.keys() >= {"transformer.safetensors", "autoencoder.safetensors", "README.md"}
    assert sum(sizes.values()) <= 40_000_000


@pytest.mark.parametrize("colour", ["blue", "yellow", "black"])
def test_the_background_has_the_colour_of_the_prompt(mini, colour):
    picture = mini(f"a fox on a {colour} background", seed=0, steps=6).images[0]
    pixels = np.asarray(picture).astype(float)
    border = np.concatenate([pixels[:4].reshape(-1, 3), pixels[-4:].reshape(-1, 3)])
    distances = {c.name: np.abs(np.median(border, axis=0) - c.rgb).sum() for c in COLOURS}
    assert min(distances, key=distances.get) == colour
    middle = pixels[40:88, 40:88].reshape(-1, 3)
    assert np.abs(middle - np.median(border, axis=0)).sum(axis=1).max() > 100  # something is there


def test_its_card_lists_every_noun():
    card = (resources.files("flux1") / "shipped" / "flux-mini" / "README.md").read_text()
    assert ", ".join(NOUNS) in " ".join(card.split())
