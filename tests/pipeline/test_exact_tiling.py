"""A decode by strips, beside the whole one: on the shipped autoencoder, on FLUX.1's own shape, and
on shapes that put every edge somewhere else."""

from dataclasses import replace

import pytest
import torch

from flux1.pipeline import exact_tiling
from flux1.pipeline.decode import decode, to_picture
from flux1.pipeline.exact_tiling import decode_tiled
from flux1.variants import FLUX_DEV, FLUX_MINI, TINY
from flux1.weights.load import Storage, load_network, random_autoencoder
from flux1.weights.sources import locate


@pytest.fixture(scope="module")
def shipped():
    source = locate(FLUX_MINI)
    return load_network(
        source.files.networks["autoencoder"], "autoencoder", source.variant.autoencoder
    )


def latents(height, width, channels=16):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, channels, height, width, generator=generator)


def levels(pixels):
    """8-bit values, as in a picture."""
    return torch.tensor(list(to_picture(pixels[0]).tobytes()), dtype=torch.int16)


@pytest.mark.parametrize("strip", [2**23, 2**16, 1], ids=["one strip", "several", "rows"])
def test_the_shipped_autoencoder_decodes_the_same_picture(shipped, monkeypatch, strip):
    monkeypatch.setattr(exact_tiling, "STRIP", strip)
    z = latents(32, 32) if strip > 1 else latents(8, 8)
    with torch.no_grad():
        whole = shipped.decode(z)
    found = decode_tiled(shipped, z)
    assert (found - whole).abs().max() <= 1e-5
    differ = (levels(found) - levels(whole)).abs()
    assert differ.max() <= 1
    assert (differ > 0).float().mean() < 1e-3


def test_flux_1s_own_shape_decodes_the_same_picture(monkeypatch):
    monkeypatch.setattr(exact_tiling, "STRIP", 2**17)
    network = random_autoencoder(FLUX_DEV.autoencoder, seed=0)
    z = latents(8, 8)
    with torch.no_grad():
        whole = network.decode(z)
    assert (decode_tiled(network, z) - whole).abs().max() <= 1e-5 * whole.abs().max()


@pytest.mark.parametrize(
    ("mult", "blocks"), [((1,), 1), ((1, 1), 2), ((2, 1, 3), 1), ((1, 2, 4, 4), 2)]
)
@pytest.mark.parametrize(("height", "width", "strip"), [(5, 3, 2**8), (4, 9, 2**10), (1, 1, 1)])
def test_any_shape_and_size(monkeypatch, mult, blocks, height, width, strip):
    monkeypatch.setattr(exact_tiling, "STRIP", strip)
    config = replace(TINY.autoencoder, channel_mult=mult, res_blocks=blocks)
    network = random_autoencoder(config, seed=1)
    z = latents(height, width)
    with torch.no_grad():
        whole = network.decode(z)
    found = decode_tiled(network, z)
    assert found.shape == whole.shape
    torch.testing.assert_close(found, whole, atol=2e-5, rtol=1e-5)


def test_in_bfloat16_strips_are_as_near_the_truth_as_a_whole_decode(shipped):
    z = latents(32, 32)
    with torch.no_grad():
        truth = shipped.decode(z)
        narrow = load_network(
            locate(FLUX_MINI).files.networks["autoencoder"],
            "autoencoder",
            shipped.config,
            Storage(torch.bfloat16),
        )
        whole = (narrow.decode(z.bfloat16()) - truth).square().mean().sqrt()
        found = (decode_tiled(narrow, z.bfloat16()) - truth).square().mean().sqrt()
    assert 0 < found <= 1.1 * whole


def test_a_tile_alone_is_another_picture(shipped):
    """Why there are none: what blending would hide lies everywhere, not at the edges."""
    z = latents(32, 32)
    with torch.no_grad():
        whole, tile = shipped.decode(z), shipped.decode(z[:, :, :20])
    inner = slice(0, 64)  # rows that are 96 rows from the tile's edge
    off = (tile[:, :, inner] - whole[:, :, inner]).abs()
    exact = (decode_tiled(shipped, z)[:, :, inner] - whole[:, :, inner]).abs()
    assert off.mean() > 100 * exact.mean()


def test_a_picture_is_decoded_so_when_asked(shipped):
    tokens = torch.randn(8 * 8, 64, generator=torch.Generator().manual_seed(2))
    whole, found = (
        decode(tokens, 8, 8, shipped, exact_tiling=placement) for placement in (False, True)
    )
    assert found.size == whole.size == (256, 256)
    difference = torch.tensor(list(found.tobytes())) - torch.tensor(list(whole.tobytes()))
    assert difference.abs().max() <= 1
