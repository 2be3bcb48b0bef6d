"""Tokens to a picture."""

import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from flux1.errors import Flux1Error
from flux1.model.autoencoder import Autoencoder
from flux1.model.patches import unpack
from flux1.pipeline.like import dtype_of
from flux1.pipeline.memory import told_out_of_memory
from flux1.pipeline.strips import decode_in_strips
from flux1.presets import OWN, Preset


@torch.no_grad()
def decode(
    tokens: Float[Tensor, "image c"],
    rows: int,
    columns: int,
    autoencoder: Autoencoder,
    like: Preset = OWN,
    in_strips: bool = False,
) -> Image.Image:
    """One image's tokens, through the autoencoder, to 8-bit RGB (clamped, rounded as `like`).

    `in_strips` takes a quarter of the memory and a third more time, for the same picture.
    """
    weight = autoencoder.decoder.conv_in.weight
    latents = unpack(tokens[None].to(weight.device, weight.dtype), rows, columns)
    with told_out_of_memory("decoding the picture"):
        whole = autoencoder.decode
        pixels = (decode_in_strips(autoencoder, latents) if in_strips else whole(latents))[0]
    if not torch.isfinite(pixels).all():
        raise Flux1Error(
            "the autoencoder returned values that are not finite; use dtype float32, or other files"
        )
    return to_picture(pixels, like)


def to_picture(pixels: Float[Tensor, "3 H W"], like: Preset = OWN) -> Image.Image:
    """Pixels in [-1, 1] to 8-bit RGB; what lies outside is clamped."""
    from_nought = pixels.to(dtype_of(like.pixels, pixels.dtype)).clamp(-1, 1) + 1
    levels = from_nought.float() * 127.5
    levels = levels.trunc() if like.cuts_levels else levels.round()
    whole = rearrange(levels.to(torch.uint8).cpu(), "c h w -> h w c")
    return Image.fromarray(whole.numpy())
