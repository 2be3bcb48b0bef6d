"""The starting point of a picture: a function of its own seed alone."""

import torch
from jaxtyping import Float
from torch import Tensor


def initial_noise(seed: int, channels: int, height: int, width: int) -> Float[Tensor, "1 c h w"]:
    """Standard normal latents from a CPU generator in fp32, whatever the device or the batch.

    Same stream as the reference: bf16 noise from the same seed is this, rounded.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn((1, channels, height, width), generator=generator, dtype=torch.float32)
