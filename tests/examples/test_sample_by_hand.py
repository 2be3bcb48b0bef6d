"""The example draws the pipeline's picture."""

import runpy
from pathlib import Path

import pytest

from flux1 import FluxPipeline
from flux1.export.parity import levels_apart

EXAMPLE = Path(__file__).parents[2] / "examples" / "sample_by_hand.py"


@pytest.fixture(scope="module")
def mini():
    return FluxPipeline.from_pretrained("flux-mini")


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_by_hand_as_by_the_pipeline(mini, solver):
    sample = runpy.run_path(str(EXAMPLE))["sample"]
    asked = {"seed": 1, "steps": 2, "solver": solver}
    drawn = sample(mini, "a castle on a pink background", rows=4, columns=4, **asked)
    side = 4 * mini.variant.size_multiple
    (wanted,) = mini("a castle on a pink background", width=side, height=side, **asked).images
    assert levels_apart(drawn, wanted).max() <= 1
