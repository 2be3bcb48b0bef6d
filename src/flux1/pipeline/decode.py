"""Tokens to a picture."""

import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from flux1.model.autoencoder import Autoencoder
from flux1.model.patches import unpack


@torch.no_grad()
def decode(
    tokens: Float[Tensor, "image c"], rows: int, columns: int, autoencoder: Autoencoder
) -> Image.Image:
    """One image's tokens, through the autoencoder, to 8-bit RGB (clamped, rounded)."""
    weight = autoencoder.decoder.conv_in.weight
    latents = unpack(tokens[None].to(weight.device, weight.dtype), rows, columns)
    pixels = autoencoder.decode(latents)[0].float().clamp(-1, 1)
    picture = ((pixels + 1) * 127.5).round().to(torch.uint8).cpu()
    return Image.fromarray(rearrange(picture, "c h w -> h w c").numpy())
