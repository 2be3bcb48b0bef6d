"""The autoencoder that grew a level, against the one that it grew from."""

import pytest
import torch
import torch.nn.functional as F

from flux1.model.autoencoder import Autoencoder
from flux1.model.config import AutoencoderConfig
from flux1.training.mini.autoencoder import (
    AutoencoderObjective,
    Crops,
    GrownAutoencoderObjective,
    grown,
    inner_config,
)
from flux1.training.mini.scenes import SpriteWorld
from flux1.training.mini.sprites import Sprites
from flux1.training.mini.vocabulary import NOUNS
from flux1.training.mini.worlds import painter

LARGE = AutoencoderConfig(channels=8, channel_mult=(1, 1, 2), res_blocks=1, norm_groups=4)


@pytest.fixture
def inner() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(inner_config(LARGE)).eval().requires_grad_(False)


@pytest.fixture
def sprites() -> Sprites:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(0, 256, (len(NOUNS), 16, 16, 4), generator=generator).byte().numpy()
    return Sprites({"glossy": drawn, "flat": drawn})


def test_a_new_level_decodes_what_the_old_ones_did_at_twice_its_size(inner):
    """Up to the last convolution, whose neighbours are nearer now."""
    model, seen = grown(inner), []
    assert model.config == LARGE
    z = torch.randn(2, 16, 6, 4, generator=torch.Generator().manual_seed(2))
    for network in (inner, model):
        network.decoder.norm_out.register_forward_hook(lambda *called: seen.append(called[2]))
    assert network.decode(z).shape == (2, 3, 24, 16)
    inner.decode(z)
    assert torch.allclose(seen[0], F.interpolate(seen[1], scale_factor=2.0), atol=1e-5)


def test_a_new_level_averages_what_the_first_layer_sees(inner):
    model, seen = grown(inner), []
    picture = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(3))
    model.encoder.down[0].register_forward_hook(lambda *called: seen.append(called[2]))
    model.posterior(picture)
    truth = F.avg_pool2d(model.encoder.conv_in(picture), 2)
    assert torch.allclose(seen[0], truth, atol=1e-6)


def test_growing_learns_the_pictures_and_keeps_the_latents(inner, sprites):
    """The loss names both; descending along its gradient brings both closer."""
    objective = GrownAutoencoderObjective(
        grown(inner), inner, Crops(painter(SpriteWorld(sprites), (32, 32)), 2, 0, 16)
    )
    batch, model = objective.batch(0), objective.model
    assert batch.shape == (2, 3, 16, 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    told = []
    for _ in range(40):
        loss, figures = objective.loss(batch, torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        told.append(figures)
    assert told[-1]["psnr"] > told[0]["psnr"] + 1
    assert told[-1]["latents"] < told[0]["latents"] / 2
    with torch.no_grad():
        said, truth = model.posterior(batch)[0], inner.posterior(F.avg_pool2d(batch, 2))[0]
    assert F.mse_loss(said, truth) / truth.var() < told[0]["latents"] / 2
    assert all(parameter.grad is None for parameter in inner.parameters())


def test_crops_lie_inside_of_the_picture(sprites):
    crops = Crops(painter(SpriteWorld(sprites), (48, 48)), 3, 0, 32).batch(0, torch.device("cpu"))
    assert crops.shape == (3, 3, 32, 32)
    assert crops.min() >= -1
    assert crops.max() <= 1


def test_half_sized_latents_owe_the_half_sized_picture(inner, sprites):
    """With the share at 1 and nothing else in the loss, it is the distance of the two halves."""
    crops = Crops(painter(SpriteWorld(sprites), (32, 32)), 2, 0, 16)
    with torch.no_grad():
        inner.encoder.conv_out.bias[inner.config.latent_channels :] = -40  # no noise of its own
    objective = AutoencoderObjective(inner, crops, kl_weight=0.0, edge_weight=0.0, equivariance=1.0)
    batch = objective.batch(0)
    with torch.no_grad():
        loss, _ = objective.loss(batch, torch.Generator().manual_seed(0))
        decoded = inner.decoder(F.avg_pool2d(inner.posterior(batch)[0], 2))
    assert decoded.shape == (2, 3, 8, 8)
    assert torch.allclose(loss, F.l1_loss(decoded, F.avg_pool2d(batch, 2)), rtol=1e-3)
