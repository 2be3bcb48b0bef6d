"""AdamW whose moments take one byte a number: a quarter of the memory that they take in float32.

Each block of 256 numbers has its largest as a scale (Dettmers et al. 2022, arXiv 2110.02861), and
codes lie closer together towards zero: the third power of the code for the first moment, the fourth
for the second. Rounding is random and right on average, else a moment that changes by less than
half a code would never change; the random numbers depend on the step alone, so a resumed run is the
same.
"""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor, nn

BLOCK = 256  # numbers that share a scale
_FIRST, _SECOND = 3, 4  # powers of the codes
_TINIEST = torch.finfo(torch.float32).tiny


class AdamW8bit(torch.optim.Optimizer):
    """As `torch.optim.AdamW`, to the rounding of its moments. Parameters are float32."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        number = 0
        for group in self.param_groups:
            for p in group["params"]:
                number += 1
                if p.grad is not None:
                    self._update(p, p.grad, group, number)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As every optimizer's; torch would leave the codes in the parameters' dtype."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state["first"] = state["first"].to(torch.int8)
            state["second"] = state["second"].to(torch.uint8)

    def _update(
        self, p: nn.Parameter, gradient: Tensor, group: dict[str, Any], number: int
    ) -> None:
        state = self.state[p]
        blocks = -(-p.numel() // BLOCK)
        if not state:
            state["step"] = 0
            for name, dtype in (("first", torch.int8), ("second", torch.uint8)):
                state[name] = torch.zeros(blocks, BLOCK, dtype=dtype, device=p.device)
                state[f"{name}_scale"] = torch.zeros(blocks, 1, device=p.device)
        state["step"] += 1
        g = gradient.new_zeros(blocks * BLOCK)
        g[: p.numel()] = gradient.flatten()
        g = g.reshape(blocks, BLOCK)
        b1, b2 = group["betas"]
        m = first_from(state["first"], state["first_scale"]).lerp_(g, 1 - b1)
        v = second_from(state["second"], state["second_scale"]).lerp_(g.square(), 1 - b2)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        root = (v / (1 - b2 ** state["step"])).sqrt_().add_(group["eps"])
        change = (m / root).flatten()[: p.numel()].reshape(p.shape)
        p.add_(change, alpha=-group["lr"] / (1 - b1 ** state["step"]))
        dice = torch.Generator(p.device).manual_seed(state["step"] * 1_000_003 + number)
        state["first"], state["first_scale"] = first_to(m, dice)
        state["second"], state["second_scale"] = second_to(v, dice)


def first_from(codes: Int8[Tensor, "n 256"], scale: Float[Tensor, "n 1"]) -> Float[Tensor, "n 256"]:
    """The first moment."""
    return (codes.float() / 127).pow_(_FIRST).mul_(scale)


def second_from(
    codes: UInt8[Tensor, "n 256"], scale: Float[Tensor, "n 1"]
) -> Float[Tensor, "n 256"]:
    """The second moment."""
    return (codes.float() / 255).pow_(_SECOND).mul_(scale)


def first_to(
    m: Float[Tensor, "n 256"], dice: torch.Generator
) -> tuple[Int8[Tensor, "n 256"], Float[Tensor, "n 1"]]:
    """Codes and scales of the first moment."""
    scale = m.abs().amax(dim=1, keepdim=True)
    codes = _rounded(m.abs() / scale.clamp(min=_TINIEST), 127, _FIRST, dice)
    return codes.mul_(m.sign()).to(torch.int8), scale


def second_to(
    v: Float[Tensor, "n 256"], dice: torch.Generator
) -> tuple[UInt8[Tensor, "n 256"], Float[Tensor, "n 1"]]:
    """Codes and scales of the second moment. What is not zero does not become zero: a step is
    divided by it."""
    scale = v.amax(dim=1, keepdim=True)
    codes = _rounded(v / scale.clamp(min=_TINIEST), 255, _SECOND, dice)
    return codes.clamp_(min=1).mul_(v > 0).to(torch.uint8), scale


def _rounded(
    share: Float[Tensor, "n 256"], most: int, power: int, dice: torch.Generator
) -> Float[Tensor, "n 256"]:
    """The code above or below, so that the number that it stands for is right on average."""
    below = (share.pow(1 / power) * most).floor_().clamp_(max=most - 1)
    low, high = (below / most).pow_(power), ((below + 1) / most).pow_(power)
    chance = (share - low) / (high - low)
    thrown = torch.rand(share.shape, generator=dice, device=share.device)
    return below + (thrown < chance)
