"""What a preset's words mean for tensors."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flux1.model.embed import divided_again
from flux1.presets import Number, Preset


def dtype_of(number: Number, model: torch.dtype) -> torch.dtype:
    """The dtype that a number format is, where networks compute in `model`."""
    return model if number == "model" else getattr(torch, number)


def told_time(t: Float[Tensor, " b"], like: Preset, model: torch.dtype) -> Float[Tensor, " b"]:
    """Exact times, rounded as the network is told them."""
    dtype = dtype_of(like.time, model)
    return divided_again(t, dtype) if like.time_in_thousandths else t.to(dtype)


def told_positions(
    ids: Int[Tensor, "tokens 3"], like: Preset, model: torch.dtype
) -> Int[Tensor, "tokens 3"]:
    """Positions, those merged that their number format cannot tell apart."""
    return ids.to(dtype_of(like.positions, model)).to(ids.dtype)
