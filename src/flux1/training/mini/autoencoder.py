"""Objective: reconstruct pixels through a small, smooth latent space (Kingma & Welling 2014)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from flux1.model.autoencoder import Autoencoder
from flux1.pipeline.decode import to_picture
from flux1.training.mini.scenes import render, sample_scene
from flux1.training.mini.sprites import Sprites
from flux1.training.objective import ParameterGroups, sheet, to_pixels


def edges(x: Float[Tensor, "b 3 H W"]) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical differences: an error here is a blurred or displaced line."""
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def start_precise(model: Autoencoder) -> None:
    """Begin with a narrow posterior (standard deviation e^-3): noise of unit width at the start
    hides the signal from the decoder, which then learns nothing for hundreds of steps."""
    bias = model.encoder.conv_out.bias
    assert bias is not None
    with torch.no_grad():
        bias[model.config.latent_channels :] = -6.0


@dataclass
class AutoencoderObjective:
    """L1 on pixels and on their differences, and a KL term that keeps the latents near N(0, 1)."""

    model: Autoencoder
    sprites: Sprites
    batch_size: int
    seed: int
    picture_size: int = 128
    crop_size: int = 64
    kl_weight: float = 1e-3
    edge_weight: float = 0.5
    unit: str = "images"

    def batch(self, step: int) -> Float[Tensor, "b 3 H W"]:
        """Crops of fresh scenes: the network is convolutional, crops teach it as well."""
        rng = np.random.default_rng([self.seed, step])
        crops, side = [], self.picture_size
        for _ in range(self.batch_size):
            picture = render(sample_scene(rng), self.sprites, side, side, rng)
            y, x = rng.integers(0, self.picture_size - self.crop_size + 1, 2)
            crops.append(picture[y : y + self.crop_size, x : x + self.crop_size])
        device = self.model.encoder.conv_in.weight.device
        return to_pixels(np.stack(crops)).to(device, memory_format=torch.channels_last)

    def loss(
        self, batch: Float[Tensor, "b 3 H W"], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        mean, logvar = self.model.posterior(batch)
        logvar = logvar.clamp(-20, 10)
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        decoded = self.model.decoder(mean + torch.exp(0.5 * logvar) * noise)
        pixel = F.l1_loss(decoded, batch)
        edge = sum(F.l1_loss(a, b) for a, b in zip(edges(decoded), edges(batch), strict=True))
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss = pixel + self.edge_weight * edge + self.kl_weight * kl
        psnr = -10 * torch.log10(F.mse_loss(decoded.detach(), batch) / 4)
        return loss, {"psnr": psnr.item(), "kl": kl.item(), "latent_std": mean.std().item()}

    def groups(self) -> ParameterGroups:
        kernels = [p for p in self.model.parameters() if p.ndim == 4]
        return ParameterGroups(kernels, [p for p in self.model.parameters() if p.ndim != 4])

    @torch.no_grad()
    def preview(self, model: Autoencoder) -> Image.Image:
        """Pictures above, their reconstructions below."""
        rng, side = np.random.default_rng([self.seed, 2**31]), self.picture_size
        pictures = np.stack(
            [render(sample_scene(rng), self.sprites, side, side, rng) for _ in range(8)]
        )
        device = model.encoder.conv_in.weight.device
        decoded = model.decode(model.encode(to_pixels(pictures).to(device)))
        return sheet([*map(Image.fromarray, pictures), *map(to_picture, decoded)], columns=8)
