"""Scalars (time, guidance) and the pooled text vector to the modulation vector's width."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SINUSOID_WIDTH = 256
_FACTOR = 1000.0


def sinusoid(x: Float[Tensor, " b"], width: int = SINUSOID_WIDTH) -> Float[Tensor, "b width"]:
    """concat(cos(1000 x f), sin(1000 x f)), f_k = 10000^(-k / (width/2)), in x's dtype.

    The factor 1000 lives here alone: everywhere else t runs from 0 (image) to 1 (noise). It is
    applied in x's own dtype as the reference does (bf16 guidance 3.5 becomes 3504, not 3500).
    """
    half = width // 2
    scaled = (_FACTOR * x).float()
    k = torch.arange(half, dtype=torch.float32, device=x.device)
    frequencies = torch.exp(-math.log(10_000) * k / half)
    angles = scaled[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1).to(x.dtype)


def divided_again(t: Float[Tensor, " b"], dtype: torch.dtype) -> Float[Tensor, " b"]:
    """t as it comes back from a program that keeps 1000 t in `dtype`: rounded there, and again
    when divided."""
    return (_FACTOR * t).to(dtype) / _FACTOR


class MlpEmbedder(nn.Module):
    """Linear, SiLU, Linear."""

    def __init__(self, in_dim: int, hidden_size: int) -> None:
        super().__init__()
        self.in_layer = nn.Linear(in_dim, hidden_size)
        self.out_layer = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Float[Tensor, "b i"]) -> Float[Tensor, "b d"]:
        return self.out_layer(F.silu(self.in_layer(x)))
