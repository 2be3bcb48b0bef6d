"""Exponential moving average of weights."""

import torch
from torch import Tensor, nn


class Ema:
    """Shadow weights: s <- d s + (1 - d) w, with d warmed up as (1 + n) / (10 + n)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        own, new = list(self.shadow.values()), list(model.state_dict().values())
        torch._foreach_lerp_(own, new, 1 - decay)

    def state_dict(self) -> dict[str, Tensor | int]:
        return {"updates": self.updates, **{f"shadow.{k}": v for k, v in self.shadow.items()}}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        self.updates = int(state["updates"])
        for name, value in self.shadow.items():
            value.copy_(state[f"shadow.{name}"])
