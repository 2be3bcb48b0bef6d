"""The points along the path at which a network is evaluated: times for sampling, densities for
training."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flux1.flow.array import Number
from flux1.flow.shift import Schedule, Spacing

if TYPE_CHECKING:
    import torch

KARRAS_RHO = 7.0  # Karras et al. 2022, arXiv 2206.00364, equation 5


def shift_mu(image_tokens: int) -> float:
    """Strength of FLUX.1 [dev]'s time shift: 0.5 at 256 tokens, 1.15 at 4096, linear, not
    clamped."""
    return Schedule().mu(image_tokens)


def spaced(times: Sequence[float], spacing: Spacing) -> list[float]:
    """Shifted times, from 1 down to 0, spread anew; "even" leaves them as they are."""
    return SPACINGS[spacing](times)


def _karras(times: Sequence[float]) -> list[float]:
    """Evenly spaced in t^(1/7) (the paper's rho)."""
    *shifted_times, end = times
    first, last = (t ** (1 / KARRAS_RHO) for t in (shifted_times[0], shifted_times[-1]))
    ramp = np.linspace(0, 1, len(shifted_times))
    return [*((first + ramp * (last - first)) ** KARRAS_RHO).tolist(), end]


def _exponential(times: Sequence[float]) -> list[float]:
    """Evenly spaced in log t."""
    *shifted_times, end = times
    first, last = math.log(shifted_times[0]), math.log(shifted_times[-1])
    return [*np.exp(np.linspace(first, last, len(shifted_times))).tolist(), end]


SPACINGS: dict[Spacing, Callable[[Sequence[float]], list[float]]] = {
    "even": list, "karras": _karras, "exponential": _exponential,
}  # fmt: skip


def shifted(t: Number, mu: float) -> Number:
    """Move times towards noise: e^mu t / (1 + (e^mu - 1) t); fixes 0 and 1."""
    s = math.exp(mu)
    return s * t / (1 + (s - 1) * t)


def sampling_times(steps: int, mu: float | None) -> list[float]:
    """steps + 1 times from 1 down to 0, evenly spaced and then shifted (mu None: not shifted)."""
    times = [1 - i / steps for i in range(steps + 1)]
    return times if mu is None else [shifted(t, mu) for t in times]


# Other programs' ways to the same times: other last digits, or a table's coarseness.


def _shifted_by_reciprocals(t: Number, mu: float) -> Number:
    """`shifted` as it was published, e^mu / (e^mu + 1/t - 1): other roundings on the way."""
    return math.exp(mu) / (math.exp(mu) + (1 / t - 1))


def linspace_times(steps: int, mu: float | None) -> list[float]:
    """In fp32 tensors (BFL)."""
    import torch

    times = torch.linspace(1, 0, steps + 1)
    return (times if mu is None else _shifted_by_reciprocals(times, mu)).tolist()


def float32_times(steps: int, mu: float | None) -> list[float]:
    """In fp32 arrays, the 0 appended (diffusers)."""
    grid = np.linspace(1, 1 / steps, steps).astype(np.float32)
    times = grid if mu is None else math.exp(mu) / (math.exp(mu) + (1 / grid - 1))
    return [*times.tolist(), 0.0]


def table_times(steps: int, mu: float | None) -> list[float]:
    """Evenly spaced entries of a table of fp32 times, 0 appended (ComfyUI's `simple`). The table
    has 10 000 entries, unshifted 1000."""
    import torch

    entries = 1000 if mu is None else 10_000
    table = torch.arange(1, entries + 1) / entries
    if mu is not None:
        table = _shifted_by_reciprocals(table, mu)
    stride = entries / steps
    return [*(table[-1 - int(i * stride)].item() for i in range(steps)), 0.0]


TIMES: dict[str, Callable[[int, float | None], list[float]]] = {
    "exact": sampling_times,
    "linspace": linspace_times,
    "float32": float32_times,
    "table": table_times,
}


def logit_normal(
    count: int, generator: "torch.Generator", mean: float = 0.0, std: float = 1.0
) -> "torch.Tensor":
    """Times t = sigmoid(N(mean, std^2)), most of them in the middle (arXiv 2403.03206, 3.1)."""
    import torch

    return torch.sigmoid(mean + std * torch.randn(count, generator=generator))


def training_times(count: int, image_tokens: int, generator: "torch.Generator") -> "torch.Tensor":
    """Logit-normal times, shifted for the resolution as sampling is."""
    return shifted(logit_normal(count, generator), shift_mu(image_tokens))
