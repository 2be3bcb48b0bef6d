"""Where along the path to evaluate: times for sampling, densities for training."""

import math
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

Time = TypeVar("Time", float, Tensor)

# mu is linear in the number of image tokens through these two points (FLUX.1's own choice).
_FEW, _MU_FEW = 256, 0.5
_MANY, _MU_MANY = 4096, 1.15


def shift_mu(image_tokens: int) -> float:
    """Strength of the time shift: 0.5 at 256 tokens, 1.15 at 4096, linear, not clamped."""
    slope = (_MU_MANY - _MU_FEW) / (_MANY - _FEW)
    return _MU_FEW + (image_tokens - _FEW) * slope


def shifted(t: Time, mu: float) -> Time:
    """Move times towards noise: e^mu t / (1 + (e^mu - 1) t); fixes 0 and 1."""
    s = math.exp(mu)
    return s * t / (1 + (s - 1) * t)


def sampling_times(steps: int, mu: float | None) -> list[float]:
    """steps + 1 times from 1 down to 0, evenly spaced and then shifted (mu None: not shifted)."""
    times = [1 - i / steps for i in range(steps + 1)]
    return times if mu is None else [shifted(t, mu) for t in times]


def logit_normal(
    count: int, generator: torch.Generator, mean: float = 0.0, std: float = 1.0
) -> Float[Tensor, " count"]:
    """Times t = sigmoid(N(mean, std^2)), most of them in the middle (arXiv 2403.03206, 3.1)."""
    return torch.sigmoid(mean + std * torch.randn(count, generator=generator))


def training_times(
    count: int, image_tokens: int, generator: torch.Generator
) -> Float[Tensor, " count"]:
    """Logit-normal times, shifted for the resolution as sampling is."""
    return shifted(logit_normal(count, generator), shift_mu(image_tokens))
