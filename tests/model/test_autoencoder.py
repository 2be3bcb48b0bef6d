"""The autoencoder against diffusers' implementation, on the same weights."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from flux1.model.autoencoder import AttnBlock, Autoencoder
from flux1.model.config import AutoencoderConfig
from flux1.weights.build import count
from flux1.weights.kinds.autoencoder import AUTOENCODER, autoencoder_config
from synthetic import autoencoder_model


@pytest.fixture(scope="module")
def both():
    theirs = autoencoder_model()
    config = autoencoder_config(theirs.config | {"block_out_channels": [8, 16, 32, 32]})
    ours = Autoencoder(config)
    ours.load_state_dict(dict(AUTOENCODER.ours(theirs.state_dict(), "diffusers", config)))
    return ours, theirs


@torch.no_grad()
def test_encoding_equals_diffusers(both):
    ours, theirs = both
    x = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = theirs.encode(x).latent_dist
    mean, logvar = ours.posterior(x)
    assert mean.shape == (2, 4, 4, 6)
    assert expected.mean.std() > 0.1
    assert (mean - expected.mean).abs().max() < 1e-5
    assert (logvar.clamp(-30, 20) - expected.logvar).abs().max() < 1e-5
    assert (ours.encode(x) - 0.3611 * (expected.mean - 0.1159)).abs().max() < 1e-5


@torch.no_grad()
def test_decoding_equals_diffusers(both):
    ours, theirs = both
    z = torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = theirs.decode(z / 0.3611 + 0.1159).sample
    assert expected.shape == (2, 3, 32, 48)
    assert expected.std() > 0.1
    assert (ours.decode(z) - expected).abs().max() < 1e-5


def test_size_of_the_published_model():
    assert count(Autoencoder, AutoencoderConfig()) == (83_819_683, 244)


def test_attention_over_many_positions_does_not_hold_all_pairs():
    """64x64 positions: all pairs would be 16.8 M values; the largest tensor stays far below."""
    block = AttnBlock(8, 4).requires_grad_(False)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, (tuple, list)) else [out]:
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel())
            return out

    with Watch():
        block(torch.randn(1, 8, 64, 64))
    assert 0 < largest < 1_000_000
