"""Tensors rounded as a preset says: its words for number formats, in torch's."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flux1.model.embed import divided_again
from flux1.presets import Number, Preset


def dtype_of(number: Number, model: torch.dtype) -> torch.dtype:
    """The dtype of a number format, for networks that compute in the dtype `model`."""
    return model if number == "model" else getattr(torch, number)


def rounded_time(t: Float[Tensor, " b"], preset: Preset, model: torch.dtype) -> Float[Tensor, " b"]:
    """Times in [0, 1], rounded as the network is given them."""
    dtype = dtype_of(preset.time, model)
    return divided_again(t, dtype) if preset.time_in_thousandths else t.to(dtype)


def rounded_positions(
    ids: Int[Tensor, "tokens 3"], preset: Preset, model: torch.dtype
) -> Int[Tensor, "tokens 3"]:
    """Positions of tokens; those become equal that their number format cannot tell apart."""
    return ids.to(dtype_of(preset.positions, model)).to(ids.dtype)
