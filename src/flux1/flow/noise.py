"""The starting point of a picture: a function of its own seed alone."""

import torch
from jaxtyping import Float
from torch import Tensor


def initial_noise(
    seed: int, channels: int, height: int, width: int, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "1 c h w"]:
    """Standard normal latents from a CPU generator, whatever the device or the batch.

    Same stream as the reference: bf16 noise from the same seed is that of fp32, rounded.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn((1, channels, height, width), generator=generator, dtype=dtype)
