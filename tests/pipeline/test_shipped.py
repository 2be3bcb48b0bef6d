"""The model in the package: whole, within its size, and doing what it is asked."""

from importlib import resources

import numpy as np
import pytest

from flux1 import FluxPipeline
from flux1.training.mini.vocabulary import COLOURS, NOUNS


@pytest.fixture(scope="module")
def mini():
    return FluxPipeline.from_pretrained("flux-mini")


@pytest.fixture(scope="module")
def schnell():
    return FluxPipeline.from_pretrained("flux-mini-schnell")


def test_all_that_ships_together_is_at_most_50_mb():
    folders = (resources.files("flux1") / "shipped").iterdir()
    sizes = {f"{d.name}/{f.name}": len(f.read_bytes()) for d in folders for f in d.iterdir()}
    assert sizes.keys() >= {
        "flux-mini/transformer.safetensors", "flux-mini/README.md",
        "flux-mini-schnell/lora.safetensors", "flux-mini-schnell/README.md",
    }  # fmt: skip
    assert sum(sizes.values()) <= 50_000_000


@pytest.mark.parametrize("colour", ["blue", "yellow", "black"])
@pytest.mark.parametrize("model", ["mini", "schnell"])
def test_the_background_has_the_colour_of_the_prompt(model, colour, request):
    pipeline, steps = request.getfixturevalue(model), {"mini": 10, "schnell": 4}[model]
    drawn = pipeline(f"a tree on a {colour} background", seed=0, num_images=4, steps=steps)
    right = 0
    for picture in drawn.images:
        pixels = np.asarray(picture).astype(float)
        border = np.concatenate([pixels[:8].reshape(-1, 3), pixels[-8:].reshape(-1, 3)])
        distances = {c.name: np.abs(np.median(border, axis=0) - c.rgb).sum() for c in COLOURS}
        middle = pixels[80:176, 80:176].reshape(-1, 3)
        something = np.abs(middle - np.median(border, axis=0)).sum(axis=1).max() > 100
        right += something and min(distances, key=distances.get) == colour
    assert right >= 3  # of four


def test_its_card_lists_every_noun():
    card = (resources.files("flux1") / "shipped" / "flux-mini" / "README.md").read_text()
    assert ", ".join(NOUNS) in " ".join(card.split())
