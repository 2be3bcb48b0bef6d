"""Pictures enlarged by the upscaler that the package ships."""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from flux1.model.tiles import Enlarge, enlarged
from flux1.weights.upscaler import CONFIG, load_upscaler


def upscale(picture: Image.Image, scale: int, device: torch.device) -> Image.Image:
    """An RGB picture at 2 or 4 times its sides; at 1, the picture itself."""
    if scale == 1:
        return picture
    return Image.fromarray(enlarged(np.asarray(picture), scale, _network(device), CONFIG))


def upscale_any(picture: Image.Image, scale: int, device: torch.device) -> Image.Image:
    """As `upscale`; an RGBA picture's transparency is resampled (Lanczos): by the network, what is
    opaque would not stay quite so."""
    large = upscale(picture.convert("RGB"), scale, device)
    if picture.mode == "RGBA":
        large.putalpha(picture.getchannel("A").resize(large.size, Image.Resampling.LANCZOS))
    return large


@cache
def _network(device: torch.device) -> Enlarge:
    """The upscaler on a device, read once: it is small, and the same for every model."""
    network = load_upscaler(device)

    @torch.inference_mode()
    def run(pixels: Float[np.ndarray, "1 3 h w"]) -> Float[np.ndarray, "1 3 H W"]:
        given = torch.from_numpy(pixels).to(device, memory_format=torch.channels_last)
        return network(given).cpu().numpy()

    return run
