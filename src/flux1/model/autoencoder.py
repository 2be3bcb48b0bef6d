"""The convolutional autoencoder: pixels in [-1, 1] to 16-channel latents and back.

Module names are those of BFL's `ae.safetensors`, so a state dict of that file loads as it is.
"""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from flux1.model.config import AutoencoderConfig


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(num_groups=groups, num_channels=channels, eps=1e-6, affine=True)


class ResnetBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = group_norm(channels_in, groups)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = group_norm(channels_out, groups)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        if channels_in != channels_out:
            self.nin_shortcut = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        if hasattr(self, "nin_shortcut"):
            x = self.nin_shortcut(x)
        return x + h


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions; FLUX.1 uses it at the lowest resolution."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        normed = self.norm(x)
        # contiguous: with strided channels the attention materialises all pairs of positions
        q, k, v = (
            rearrange(conv(normed), "b c h w -> b 1 (h w) c").contiguous()
            for conv in (self.q, self.k, self.v)
        )
        h = F.scaled_dot_product_attention(q, k, v)
        h = rearrange(h, "b 1 (h w) c -> b c h w", h=x.shape[2], w=x.shape[3])
        return x + self.proj_out(h)


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The residual blocks of one resolution and the resampling that follows them, if any."""

    def __init__(
        self,
        blocks: list[ResnetBlock],
        downsample: Downsample | None = None,
        upsample: Upsample | None = None,
    ) -> None:
        super().__init__()
        self.block = nn.Sequential(*blocks)
        if downsample is not None:
            self.downsample = downsample
        if upsample is not None:
            self.upsample = upsample

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        x = self.block(x)
        if hasattr(self, "downsample"):
            x = self.downsample(x)
        if hasattr(self, "upsample"):
            x = self.upsample(x)
        return x


class Middle(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttnBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.block_2(self.attn_1(self.block_1(x)))


def _blocks(before: int, width: int, count: int, groups: int) -> list[ResnetBlock]:
    return [ResnetBlock(before if j == 0 else width, width, groups) for j in range(count)]


class Encoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        groups = config.norm_groups
        widths = [config.channels * m for m in config.channel_mult]
        self.conv_in = nn.Conv2d(config.in_channels, config.channels, 3, padding=1)
        self.down = nn.ModuleList()
        before = config.channels
        for i, width in enumerate(widths):
            blocks = _blocks(before, width, config.res_blocks, groups)
            last = i == len(widths) - 1
            level = Level(blocks, downsample=None if last else Downsample(width))
            self.down.append(level)
            before = width
        self.mid = Middle(before, groups)
        self.norm_out = group_norm(before, groups)
        self.conv_out = nn.Conv2d(before, 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b z2 h w"]:
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        groups = config.norm_groups
        widths = [config.channels * m for m in config.channel_mult]
        before = widths[-1]
        self.conv_in = nn.Conv2d(config.latent_channels, before, 3, padding=1)
        self.mid = Middle(before, groups)
        levels: list[Level] = []
        for i, width in reversed(list(enumerate(widths))):
            blocks = _blocks(before, width, config.res_blocks + 1, groups)
            level = Level(blocks, upsample=Upsample(width) if i > 0 else None)
            levels.append(level)
            before = width
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out = group_norm(before, groups)
        self.conv_out = nn.Conv2d(before, config.in_channels, 3, padding=1)

    def forward(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b 3 H W"]:
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(h)))


class Autoencoder(nn.Module):
    """Encoder, decoder, and the affine map between raw and model latents."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def posterior(
        self, x: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b z h w"], Float[Tensor, "b z h w"]]:
        """Mean and log-variance of the raw (unscaled) latents."""
        mean, logvar = self.encoder(x).chunk(2, dim=1)
        return mean, logvar

    def encode(self, x: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b z h w"]:
        """Pixels in [-1, 1] to scaled latents: scale * (mean - shift), as the reference does."""
        mean, _ = self.posterior(x)
        return self.config.scale_factor * (mean - self.config.shift_factor)

    def decode(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b 3 H W"]:
        """Scaled latents to pixels, about [-1, 1] (not clamped)."""
        return self.decoder(z / self.config.scale_factor + self.config.shift_factor)
