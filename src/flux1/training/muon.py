"""Muon (Jordan et al. 2024) with AdamW for what is not a hidden matrix.

Written here because `torch.optim.Muon` always orthogonalises in bfloat16, which CPUs without native
support run several times slower than float32, takes one matrix at a time, and no kernels of
convolutions.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Coefficients of the quintic Newton-Schulz iteration, from Jordan's reference description.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(
    g: Float[Tensor, "n rows cols"], iterations: int = 5
) -> Float[Tensor, "n rows cols"]:
    """Push all singular values of each matrix towards 1."""
    wide = g.shape[1] <= g.shape[2]
    x = g if wide else g.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised. Steps are scaled to AdamW's usual root mean square of 0.2,
    so that one learning rate serves both (Liu et al. 2025, arXiv 2502.16982, eq. 4)."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype  # of the orthogonalisation; momentum and weights keep their own

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every matrix; matrices of one shape are orthogonalised together."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:  # a convolution's kernel is a matrix of output x the rest
                    by_shape[p.shape[0], p[0].numel()].append(p)
            for shape, params in by_shape.items():
                nesterov = []
                for p in params:
                    state, gradient = self.state[p], p.grad
                    assert gradient is not None  # chosen above
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(p)
                    state["momentum"].lerp_(gradient, 1 - group["momentum"])
                    blended = gradient.lerp(state["momentum"], group["momentum"])
                    nesterov.append(blended.reshape(shape))
                # A fused qkv is three matrices on top of one another: each its own update.
                parts = 3 if shape[0] == 3 * shape[1] else 1
                stacked = torch.stack(nesterov).reshape(len(params) * parts, -1, shape[1])
                update = orthogonalise(stacked.to(self.dtype)).float().reshape(len(params), *shape)
                scale = 0.2 * max(shape[0] // parts, shape[1]) ** 0.5
                for p, u in zip(params, update, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(u.reshape(p.shape), alpha=-group["lr"] * scale)
