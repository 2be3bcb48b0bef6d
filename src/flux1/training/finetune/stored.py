"""Gradients through layers whose weights are kept packed or in a file (model/stored.py).

Such a layer decodes its weight piece by piece and drops it. Recorded as it goes, every piece would
be kept for the gradient; so nothing is recorded, and the weight is decoded once more on the way
back. Where the layer multiplies in eight bits, the gradient is that of the weight that it stands
for.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from flux1.model.stored import StoredLinear

ROWS = 1024  # of a weight that are decoded at once


class _Through(torch.autograd.Function):
    """x W^T + b; the gradient goes to x alone, the layer is frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: StoredLinear) -> Tensor:
        ctx.layer = layer
        return layer.matrix.times(x, layer.bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        matrix = ctx.layer.matrix
        total = gradient.new_zeros(*gradient.shape[:-1], matrix.shape[1])
        for start in range(0, matrix.shape[0], ROWS):
            place = slice(start, min(start + ROWS, matrix.shape[0]))
            rows = matrix.rows(place, gradient.dtype, gradient.device)
            total += gradient[..., place] @ rows
        return total, None


def _forward(layer: StoredLinear, x: Tensor) -> Tensor:
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        x = x.to(torch.get_autocast_dtype(kind))
    through: Tensor = _Through.apply(x, layer)
    return through


def let_gradients_through(network: nn.Module) -> None:
    """Make a network with stored layers one that can be trained beside them."""
    for module in network.modules():
        if isinstance(module, StoredLinear):
            module.__dict__["forward"] = partial(_forward, module)
