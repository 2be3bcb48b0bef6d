"""Tokens to a picture."""

import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from flux1.errors import Flux1Error
from flux1.model.autoencoder import Autoencoder
from flux1.model.patches import unpack
from flux1.pipeline.memory import told_out_of_memory


@torch.no_grad()
def decode(
    tokens: Float[Tensor, "image c"], rows: int, columns: int, autoencoder: Autoencoder
) -> Image.Image:
    """One image's tokens, through the autoencoder, to 8-bit RGB (clamped, rounded)."""
    weight = autoencoder.decoder.conv_in.weight
    latents = unpack(tokens[None].to(weight.device, weight.dtype), rows, columns)
    with told_out_of_memory("decoding the picture"):
        pixels = autoencoder.decode(latents)[0]
    if not torch.isfinite(pixels).all():
        raise Flux1Error(
            "the autoencoder returned values that are not finite; use dtype float32, or other files"
        )
    return to_picture(pixels)


def to_picture(pixels: Float[Tensor, "3 H W"]) -> Image.Image:
    """Pixels in [-1, 1] to 8-bit RGB; what lies outside is clamped."""
    levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    return Image.fromarray(rearrange(levels, "c h w -> h w c").numpy())
