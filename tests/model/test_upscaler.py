"""The upscaler beside ncnn, which its file is for (ncnn 1.0.20261020 made `upscaler-truth.png`)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flux1.model.config import UpscalerConfig
from flux1.model.tiles import enlarged
from flux1.model.upscaler import Upscaler
from flux1.pipeline.upscale import upscale, upscale_any

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small():
    with Image.open(Path(__file__).with_name("upscaler-input.png")) as picture:
        return picture.convert("RGB")


@pytest.fixture(scope="module")
def truth():
    with Image.open(Path(__file__).with_name("upscaler-truth.png")) as picture:
        return np.asarray(picture).astype(int)


def test_four_times_is_ncnns_picture(small, truth):
    ours = np.asarray(upscale(small, 4, CPU)).astype(int)
    assert ours.shape == truth.shape
    assert np.abs(ours - truth).max() <= 1
    assert np.abs(ours - truth).mean() < 0.01


def test_twice_is_the_mean_of_four_pixels(small, truth):
    ours = np.asarray(upscale(small, 2, CPU)).astype(int)
    rows, columns, _ = ours.shape
    mean = truth.reshape(rows, 2, columns, 2, 3).mean(axis=(1, 3))
    assert np.abs(ours - mean).max() <= 1


@pytest.mark.parametrize("tile", [7, 16, 40])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_tiles_leave_no_seams(tile, scale):
    """In float64, where a convolution's order of summing is of no account."""
    torch.manual_seed(0)
    config = UpscalerConfig(channels=6, convolutions=3)
    network = Upscaler(config).double().requires_grad_(False)
    seen = []

    def run(pixels):
        seen.append(pixels.shape)
        return network(torch.from_numpy(pixels).double()).numpy()

    levels = np.random.default_rng(0).integers(0, 256, (33, 50, 3)).astype(np.uint8)
    whole, found = (enlarged(levels, scale, run, config, size) for size in (50, tile))
    assert whole.shape == (33 * scale, 50 * scale, 3)
    np.testing.assert_array_equal(found, whole)
    assert max(max(shape[2:]) for shape in seen[1:]) <= tile + 2 * config.reach


def test_what_is_opaque_stays_so(small):
    half = small.width // 2
    alpha = Image.new("L", small.size, 255)
    alpha.paste(0, (0, 0, half, small.height))
    clear = small.copy()
    clear.putalpha(alpha)
    large = upscale_any(clear, 2, CPU)
    found = np.asarray(large.getchannel("A"))
    assert (found[:, : 2 * half - 8] == 0).all()
    assert (found[:, 2 * half + 8 :] == 255).all()
    np.testing.assert_array_equal(np.asarray(large.convert("RGB")), upscale(small, 2, CPU))
