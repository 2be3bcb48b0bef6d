"""Exponential moving average of weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Shadow weights: s <- d s + (1 - d) w, with d warmed up as (1 + n) / (10 + n). A decay of 0
    keeps none: the average is then the weights themselves."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        state = model.state_dict() if decay else {}
        self.shadow = {k: v.detach().clone() for k, v in state.items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        if not self.shadow:
            return
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        own, new = list(self.shadow.values()), list(model.state_dict().values())
        torch._foreach_lerp_(own, new, 1 - decay)

    @contextmanager
    def worn(self, model: nn.Module) -> Iterator[None]:
        """While this lasts, the model has the averaged weights; its own take their place here."""
        self._exchange(model)
        try:
            yield
        finally:
            self._exchange(model)

    @torch.no_grad()
    def _exchange(self, model: nn.Module) -> None:
        own = model.state_dict()
        for name, kept in self.shadow.items():
            value = own[name].clone()
            own[name].copy_(kept)
            kept.copy_(value)

    def state_dict(self) -> dict[str, Tensor | int]:
        return {"updates": self.updates, **{f"shadow.{k}": v for k, v in self.shadow.items()}}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        self.updates = int(state["updates"])
        for name, value in self.shadow.items():
            value.copy_(state[f"shadow.{name}"])
