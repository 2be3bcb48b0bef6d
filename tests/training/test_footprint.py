"""What training is said to take, against what torch's allocator hands out."""

from dataclasses import replace

import pytest
import torch

from allocated import peak
from flux1.training.checkpoint import save_checkpoint
from flux1.training.ema import Ema
from flux1.training.finetune.base_networks import layers_of
from flux1.training.finetune.choose import choose_settings
from flux1.training.finetune.footprint import checkpoint_bytes, picture_encode_bytes, training_bytes
from flux1.training.lora import LoraNetwork
from flux1.training.transformer import Batch, predict, recompute_blocks
from flux1.variants import FLUX_DEV, TINY
from flux1.weights.load import random_autoencoder, random_transformer

SHAPE = replace(
    TINY.transformer, hidden_size=128, axes_dim=(8, 12, 12), depth=3, depth_single_blocks=4
)
VARIANT = replace(TINY, transformer=SHAPE)


def one_run(settings, recompute):
    """Network, learner, averages and two steps: the first makes the moments."""
    full = settings.method == "full"
    dtype = torch.float32 if full else getattr(torch, settings.precision)
    network = random_transformer(SHAPE, 0).to(dtype)
    if full:
        learner = network.requires_grad_(True)
    else:
        layers = layers_of(network, settings.layers)
        learner = LoraNetwork(network, layers, settings.rank, settings.alpha)
    if recompute:
        recompute_blocks(network)
    averages = [value.detach().clone() for value in learner.state_dict().values()]
    optimizer = torch.optim.AdamW(learner.parameters())
    side = settings.resolutions[0] // 16
    text = VARIANT.text.max_tokens
    narrow = settings.precision == "bfloat16"
    for _ in range(2):
        count = settings.batch_size
        batch = Batch(
            torch.randn(count, side**2, 64), torch.randn(count, text, 32), torch.randn(count, 32),
            (side, side),
        )  # fmt: skip
        t, one = torch.rand(count), torch.ones(count)
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            loss = (predict(network, batch.tokens, t, batch, one) - batch.tokens).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return averages


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("given", [{"layers": "attention"}, {}, {"layers": "all"},
                                   {"method": "full"}], ids=str)  # fmt: skip
def test_a_run_takes_what_is_said(tmp_path, given, precision, recompute):
    settings = choose_settings(
        VARIANT, torch.float32, precision=precision, batch_size=4, resolutions=(256,),
        **({"rank": 8} if "method" not in given else {}), **given,
    )  # fmt: skip
    said = training_bytes(VARIANT, settings, recompute).total
    measured = peak(lambda: one_run(settings, recompute), tmp_path)
    assert 0.75 <= measured / said <= 1.05


def test_where_weights_are_many_and_data_little_the_optimizers_step_is_the_fullest(tmp_path):
    settings = choose_settings(
        VARIANT, torch.float32, method="full", batch_size=1, resolutions=(64,)
    )
    said = training_bytes(VARIANT, settings)
    assert said.gradients + said.step > said.activations
    assert 0.8 <= peak(lambda: one_run(settings, False), tmp_path) / said.total <= 1.05


def test_flux_1_at_1024x1024():
    """By hand: 23.8 GB of weights in bf16; the LoRA's numbers are 16 (in + out) of its layers."""
    settings = choose_settings(FLUX_DEV, torch.bfloat16)
    said = training_bytes(FLUX_DEV, settings)
    assert said.weights == 11_901_408_320 * 2
    d = 3072
    double = 2 * ((d + 3 * d) + (d + d) + 2 * (d + 4 * d))
    single = (d + 7 * d) + (5 * d + d)
    numbers = 16 * (19 * double + 38 * single)
    assert said.gradients == 4 * numbers
    assert said.trained == 4 * 4 * numbers
    tokens = 4096 + 512
    kept = 19 * (17 * 2 + 8) * d + 38 * (17 * 2 + 8) * d
    assert said.activations == pytest.approx(tokens * kept, rel=0.05)  # 34 GB
    less = training_bytes(FLUX_DEV, settings, recompute=True)
    assert less.activations < 0.1 * said.activations
    packed = training_bytes(FLUX_DEV, settings, recompute=True, weights=12_000_000_000)
    assert packed.total < 24e9  # a card of 24 GB
    full = choose_settings(FLUX_DEV, torch.bfloat16, method="full", processes=8)
    shared = training_bytes(FLUX_DEV, full, recompute=True, processes=8)
    assert shared.total < 80e9 < training_bytes(FLUX_DEV, full, recompute=True).total


@pytest.mark.parametrize("side", [64, 128])
def test_encoding_a_picture_takes_what_is_said(tmp_path, side):
    config = replace(TINY.autoencoder, channels=32, channel_mult=(1, 2, 4, 4), norm_groups=8)
    network = random_autoencoder(config, 0)
    pixels = torch.rand(1, 3, 2 * side, side)

    @torch.no_grad()
    def encode():
        network.encode(pixels)

    said = picture_encode_bytes(config, torch.float32, 2 * side**2)
    assert 0.6 <= peak(encode, tmp_path) / said <= 1.05


def test_a_checkpoint_takes_what_is_said(tmp_path):
    settings = choose_settings(VARIANT, torch.float32, rank=8)
    learner = LoraNetwork(
        random_transformer(SHAPE, 0), layers_of(random_transformer(SHAPE, 0), "blocks"), 8, 8.0
    )
    ema, optimizer = Ema(learner, 0.99), torch.optim.AdamW(learner.parameters())
    sum(parameter.sum() for parameter in learner.parameters()).backward()
    optimizer.step()
    save_checkpoint(tmp_path, 1, learner, ema, [optimizer])
    written = (tmp_path / "checkpoint.pt").stat().st_size
    assert 1 <= written / checkpoint_bytes(VARIANT, settings) <= 1.1


def test_weights_that_are_not_plain_are_whole_in_each_process():
    settings = choose_settings(FLUX_DEV, torch.bfloat16, processes=4, batch_size=4)
    alone = training_bytes(FLUX_DEV, settings)
    shared = training_bytes(FLUX_DEV, settings, processes=4)
    assert shared.weights == alone.weights // 4
    assert training_bytes(FLUX_DEV, settings, processes=4, weights=12).weights == 12


def test_moments_in_a_byte_take_a_quarter():
    usual = choose_settings(FLUX_DEV, torch.bfloat16, method="full")
    narrow = replace(usual, optimizer="adamw8bit")
    less = training_bytes(FLUX_DEV, usual).trained - training_bytes(FLUX_DEV, narrow).trained
    assert less == pytest.approx(11_901_408_320 * (8 - 2.03125), rel=1e-9)
    assert checkpoint_bytes(FLUX_DEV, usual) - checkpoint_bytes(FLUX_DEV, narrow) == less
