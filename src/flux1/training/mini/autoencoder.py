"""Objectives: reconstruct pixels through a small, smooth latent space (Kingma & Welling 2014); then
the same space for pictures of twice the size."""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from flux1.model.autoencoder import Autoencoder
from flux1.model.config import AutoencoderConfig
from flux1.pipeline.decode import to_picture
from flux1.training.mini.worlds import Painter
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


@dataclass(frozen=True)
class Crops:
    """`count` crops of `side` pixels for each step, each of a fresh picture of `paint`: the network
    is convolutional, crops teach it as well."""

    paint: Painter
    count: int
    seed: int
    side: int

    def batch(self, step: int, device: torch.device) -> Float[Tensor, "b 3 H W"]:
        """A pure function of the seed and the step."""
        rng, crops = np.random.default_rng([self.seed, step]), []
        for _ in range(self.count):
            picture = self.paint(rng)
            y, x = (int(rng.integers(0, side - self.side + 1)) for side in picture.shape[:2])
            crops.append(picture[y : y + self.side, x : x + self.side])
        return to_pixels(np.stack(crops)).to(device, memory_format=torch.channels_last)

    @torch.no_grad()
    def reconstructed(self, model: Autoencoder) -> Image.Image:
        """Eight whole pictures above, their reconstructions below."""
        rng = np.random.default_rng([self.seed, 2**31])
        pictures = np.stack([self.paint(rng) for _ in range(8)])
        decoded = model.decode(model.encode(to_pixels(pictures).to(_device(model))))
        return sheet([*map(Image.fromarray, pictures), *map(to_picture, decoded)], columns=8)


@dataclass
class AutoencoderObjective:
    """L1 on pixels and on their differences, and a KL term that keeps the latents near N(0, 1).

    In a share `equivariance` of the steps the decoder reads the latents at half their size and
    owes the picture at half its size, which makes the latent space smoother for a transformer to
    learn (EQ-VAE, Kouzelis et al. 2025, arXiv 2502.09509). What a transformer draws is never quite
    a picture's latents, so the decoder reads them with noise of up to `latent_noise` of their
    deviation (noise-augmented decoding, Zheng et al. 2025, arXiv 2510.11690).
    """

    model: Autoencoder
    crops: Crops
    kl_weight: float = 1e-3
    edge_weight: float = 0.5
    equivariance: float = 0.0
    latent_noise: float = 0.0
    unit: str = "images"

    def batch(self, step: int) -> Float[Tensor, "b 3 H W"]:
        return self.crops.batch(step, _device(self.model))

    def loss(
        self, batch: Float[Tensor, "b 3 H W"], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        mean, logvar = self.model.posterior(batch)
        logvar = logvar.clamp(-20, 10)
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        level = torch.rand(len(mean), 1, 1, 1, generator=generator).to(mean.device)
        spread = torch.exp(0.5 * logvar) + self.latent_noise * level * mean.detach().std()
        latents, truth = mean + spread * noise, batch
        if torch.rand((), generator=generator).item() < self.equivariance:
            latents, truth = F.avg_pool2d(latents, 2), F.avg_pool2d(batch, 2)
        decoded = self.model.decoder(latents)
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss = difference(decoded, truth, self.edge_weight) + self.kl_weight * kl
        figures = {"psnr": psnr(decoded, truth), "kl": kl.item(), "latent_std": mean.std().item()}
        return loss, figures

    def groups(self) -> ParameterGroups:
        return kernels_and_rest(self.model)

    def preview(self, model: Autoencoder) -> Image.Image:
        return self.crops.reconstructed(model)


@dataclass
class GrownAutoencoderObjective:
    """Pictures of twice the size from the finished autoencoder's latents, and these latents from
    pictures of twice the size, so that whatever was trained on them stays as it is.

    `model` has one level more than `inner` (see `grown`). L1 on pixels and on their differences;
    for the encoder, the squared distance to what `inner` says of the picture at half its size.
    What a transformer draws is never quite a picture's latents, so the decoder reads them with
    noise of up to `latent_noise` of their deviation, and learns to draw clean pictures all the same
    (noise-augmented decoding, Zheng et al. 2025, arXiv 2510.11690).
    """

    model: Autoencoder
    inner: Autoencoder
    crops: Crops
    edge_weight: float = 0.5
    latent_noise: float = 0.3
    unit: str = "images"

    def batch(self, step: int) -> Float[Tensor, "b 3 H W"]:
        return self.crops.batch(step, _device(self.model))

    def loss(
        self, batch: Float[Tensor, "b 3 H W"], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            mean, _ = self.inner.posterior(F.avg_pool2d(batch, 2))
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        level = torch.rand(len(mean), 1, 1, 1, generator=generator).to(mean.device)
        decoded = self.model.decoder(mean + self.latent_noise * level * mean.std() * noise)
        said, _ = self.model.posterior(batch)
        latents = F.mse_loss(said, mean) / mean.var()
        loss = difference(decoded, batch, self.edge_weight) + latents
        return loss, {"psnr": psnr(decoded, batch), "latents": latents.item()}

    def groups(self) -> ParameterGroups:
        return kernels_and_rest(self.model)

    def preview(self, model: Autoencoder) -> Image.Image:
        return self.crops.reconstructed(model)


def inner_config(config: AutoencoderConfig) -> AutoencoderConfig:
    """The configuration of the autoencoder for pictures of half the size; the outermost two
    levels are equally wide."""
    return replace(config, channel_mult=config.channel_mult[1:])


def grown(inner: Autoencoder) -> Autoencoder:
    """The same network with one level more at each end, which begins by averaging and repeating
    pixels: before any training it decodes to the old picture at twice its size."""
    old = inner.config
    model = Autoencoder(replace(old, channel_mult=(old.channel_mult[0], *old.channel_mult)))
    ours = model.state_dict()
    for name, tensor in inner.state_dict().items():
        network, part, *rest = name.split(".")
        if part in ("down", "up"):
            rest[0] = str(int(rest[0]) + 1)
        ours[".".join([network, part, *rest])].copy_(tensor)
    down, up = (ours[f"{conv}.conv.weight"] for conv in (_DOWN, _UP))
    for name, tensor in ours.items():
        new_block = name.startswith(("encoder.down.0.block", "decoder.up.0.block"))
        if (new_block and ".conv2." in name) or name.startswith((_DOWN, _UP)):
            tensor.zero_()
    each = range(old.channels)
    down[each, each, :2, :2] = 0.25
    up[each, each, 1, 1] = 1.0
    return model


_DOWN, _UP = "encoder.down.0.downsample", "decoder.up.1.upsample"


def difference(
    decoded: Float[Tensor, "b 3 H W"], truth: Float[Tensor, "b 3 H W"], edge_weight: float
) -> Tensor:
    """L1 on pixels and, weighted, on their differences."""
    edge = sum(F.l1_loss(a, b) for a, b in zip(edges(decoded), edges(truth), strict=True))
    return F.l1_loss(decoded, truth) + edge_weight * edge


def psnr(decoded: Float[Tensor, "b 3 H W"], truth: Float[Tensor, "b 3 H W"]) -> float:
    """Peak signal-to-noise ratio in dB; pixels are in [-1, 1]."""
    return (-10 * torch.log10(F.mse_loss(decoded.detach(), truth) / 4)).item()


def kernels_and_rest(model: Autoencoder) -> ParameterGroups:
    """Muon moves the convolutions' kernels."""
    kernels = [p for p in model.parameters() if p.ndim == 4]
    return ParameterGroups(kernels, [p for p in model.parameters() if p.ndim != 4])


def _device(model: Autoencoder) -> torch.device:
    return model.encoder.conv_in.weight.device
