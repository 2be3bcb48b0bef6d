"""Tokens to a picture."""

import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from flux1.errors import Flux1Error
from flux1.model.autoencoder import Autoencoder
from flux1.model.patches import unpack
from flux1.pipeline.exact_tiling import decode_tiled
from flux1.pipeline.memory import explain_out_of_memory
from flux1.pipeline.rounding import dtype_of
from flux1.presets import OWN, Preset


@torch.no_grad()
def decode(
    tokens: Float[Tensor, "image c"],
    rows: int,
    columns: int,
    autoencoder: Autoencoder,
    preset: Preset = OWN,
    exact_tiling: bool = False,
) -> Image.Image:
    """The 8-bit RGB picture of one image's tokens, clamped and rounded as `preset` says.

    `exact_tiling` takes a quarter of the memory and a third more time, for the same picture.
    """
    weight = autoencoder.decoder.conv_in.weight
    latents = unpack(tokens[None].to(weight.device, weight.dtype), rows, columns)
    with explain_out_of_memory("decoding the picture"):
        whole = autoencoder.decode
        pixels = (decode_tiled(autoencoder, latents) if exact_tiling else whole(latents))[0]
    if not torch.isfinite(pixels).all():
        raise Flux1Error(
            "the autoencoder returned values that are not finite; use dtype float32, or other files"
        )
    return to_picture(pixels, preset)


def to_picture(pixels: Float[Tensor, "3 H W"], preset: Preset = OWN) -> Image.Image:
    """Pixels in [-1, 1] to 8-bit RGB; what lies outside is clamped."""
    from_nought = pixels.to(dtype_of(preset.pixels, pixels.dtype)).clamp(-1, 1) + 1
    levels = from_nought.float() * 127.5
    levels = levels.trunc() if preset.cuts_levels else levels.round()
    whole = rearrange(levels.to(torch.uint8).cpu(), "c h w -> h w c")
    return Image.fromarray(whole.numpy())
