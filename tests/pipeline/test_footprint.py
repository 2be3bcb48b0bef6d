"""What drawing is said to take, against what torch's allocator hands out."""

from dataclasses import replace

import pytest
import torch

import allocated
from flux1.model.autoencoder import Autoencoder
from flux1.model.config import T5Config
from flux1.model.modulation_cache import modulation
from flux1.model.patches import image_ids, text_ids
from flux1.model.text import T5Text
from flux1.model.transformer import Transformer
from flux1.pipeline import exact_tiling
from flux1.pipeline.footprint import (
    call_bytes,
    decode_bytes,
    encode_bytes,
    modulation_numbers,
    picture_bytes,
    tiled_bytes,
)
from flux1.variants import FLUX_DEV, FLUX_MINI, TINY, VARIANTS


def peak(action, folder):
    """Without what a gradient would need."""
    return allocated.peak(torch.no_grad()(action), folder)


def widens(dtype, folder):
    """Whether this processor's product holds its answer in float32 too: some have no bfloat16."""
    x, linear = torch.randn(64, 64, dtype=dtype), torch.nn.Linear(64, 512, dtype=dtype)
    return peak(lambda: linear(x), folder) > 2 * 64 * 512 * dtype.itemsize


@pytest.fixture(
    params=[torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.slow)], ids=str
)
def dtype(request):
    return request.param


@pytest.mark.parametrize("variant", [TINY, FLUX_MINI], ids=lambda v: v.id)
@pytest.mark.parametrize(("rows", "side"), [(1, 32), (4, 16)])
def test_a_model_call_takes_what_is_said(tmp_path, variant, dtype, rows, side):
    config, text = variant.transformer, variant.text.max_tokens
    network = Transformer(config).to(dtype)
    inputs = {
        "img": torch.randn(rows, side**2, config.in_channels, dtype=dtype),
        "img_ids": image_ids(side, side).expand(rows, -1, -1),
        "txt": torch.randn(rows, text, config.context_in_dim, dtype=dtype),
        "txt_ids": text_ids(text).expand(rows, -1, -1),
        "t": torch.rand(rows),
        "pooled": torch.randn(rows, config.vec_in_dim, dtype=dtype),
        "guidance": torch.ones(rows) if config.guidance_embed else None,
    }
    said = call_bytes(config, dtype, rows * (side**2 + text))
    least = 0.8 if widens(dtype, tmp_path) else 0.9
    assert least <= said / peak(lambda: network(**inputs), tmp_path) <= 1.2


@pytest.mark.parametrize("variant", [TINY, FLUX_MINI], ids=lambda v: v.id)
@pytest.mark.parametrize(("height", "width"), [(256, 256), (64, 320)])
def test_a_decode_takes_what_is_said(tmp_path, variant, dtype, height, width):
    config = variant.autoencoder
    network = Autoencoder(config).to(dtype)
    scale = config.downscale
    latents = torch.randn(1, config.latent_channels, height // scale, width // scale, dtype=dtype)
    said = decode_bytes(config, dtype, height * width)
    assert 0.95 <= said / peak(lambda: network.decode(latents), tmp_path) <= 1.3


@pytest.mark.parametrize(
    ("mult", "blocks"), [((1, 1, 1), 2), ((1, 4), 1), ((2, 1, 3), 1), ((1, 1), 3)]
)
def test_decoders_of_other_shapes_take_no_more_than_is_said(tmp_path, dtype, mult, blocks):
    """Whichever level is the fullest."""
    config = replace(
        TINY.autoencoder, channels=16, channel_mult=mult, res_blocks=blocks, norm_groups=8
    )
    network = Autoencoder(config).to(dtype)
    side = 128 // config.downscale
    latents = torch.randn(1, config.latent_channels, side, side, dtype=dtype)
    said = decode_bytes(config, dtype, 128**2)
    assert 0.95 <= said / peak(lambda: network.decode(latents), tmp_path) <= 1.6


@pytest.mark.parametrize("strip", [2**15, 2**17, 2**19])
@pytest.mark.parametrize(("height", "width"), [(256, 256), (512, 128)])
def test_a_decode_by_strips_takes_what_is_said(tmp_path, monkeypatch, dtype, strip, height, width):
    monkeypatch.setattr(exact_tiling, "STRIP", strip)
    config = replace(FLUX_DEV.autoencoder, channels=16, norm_groups=8)
    network = Autoencoder(config).to(dtype)
    latents = torch.randn(1, config.latent_channels, height // 8, width // 8, dtype=dtype)
    said = tiled_bytes(config, dtype, height, width)
    taken = peak(lambda: exact_tiling.decode_tiled(network, latents), tmp_path)
    assert 0.98 <= said / taken <= 1.15
    assert taken < 0.8 * peak(lambda: network.decode(latents), tmp_path)


@pytest.mark.parametrize(
    ("heads", "inner"), [(8, 320), (2, 1000), (4, 64)], ids=["scores", "units", "places"]
)
@pytest.mark.parametrize("tokens", [128, 512])
def test_encoding_by_t5_takes_what_is_said(tmp_path, dtype, heads, inner, tokens):
    config = T5Config(
        vocab_size=100, hidden_size=16 * heads, head_dim=16, intermediate_size=inner,
        num_layers=2, num_heads=heads,
    )  # fmt: skip
    network = T5Text(config).to(dtype)
    ids = torch.randint(0, 100, (1, tokens))
    said = encode_bytes(config, dtype, tokens)
    assert 0.95 <= said / peak(lambda: network(ids), tmp_path) <= 1.35


@pytest.mark.parametrize("variant", [TINY, FLUX_MINI], ids=lambda v: v.id)
def test_a_modulation_has_the_numbers_that_are_said(variant):
    config = variant.transformer
    network = Transformer(config)
    scale = torch.ones(1) if config.guidance_embed else None
    with torch.no_grad():
        found = modulation(network, torch.ones(1), torch.randn(1, config.vec_in_dim), scale)
    assert found.shape == (1, modulation_numbers(config))


def test_flux_1_in_bf16_at_1024x1024():
    """By hand: the second upsampling has 512 + 256 channels at half the side, 4 x 256 at the whole
    (two of them copies); of a model call, 19 x 3072 + 4096 numbers a token, and its rotations."""
    bf16, pixels = torch.bfloat16, 1024**2
    said = decode_bytes(FLUX_DEV.autoencoder, bf16, pixels)
    assert said == ((768 // 4 + 4 * 256) * pixels + 16 * 128**2) * 2 == 2432.5 * 2**20
    tokens = 64 * 64 + 512
    per_token = (19 * 3072 + 4096) * 2 + 128 * 4
    assert call_bytes(FLUX_DEV.transformer, bf16, tokens) == tokens * per_token  # 0.58 GB
    assert picture_bytes(FLUX_DEV, bf16, pixels) == said


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.id)
def test_the_footprint_grows_with_the_picture_and_with_the_numbers_width(variant):
    sides = [variant.size_multiple * k for k in (1, 2, 4, 8)]
    narrow, wide = (
        [picture_bytes(variant, dtype, side**2) for side in sides]
        for dtype in (torch.bfloat16, torch.float32)
    )
    assert narrow == sorted(set(narrow))
    assert wide == pytest.approx([2 * size for size in narrow], rel=0.1)
