"""One image in flight: where it is on its path, and what it wants evaluated next."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flux1.errors import Flux1Error
from flux1.flow.guidance import Condition, Guidance
from flux1.flow.path import denoised
from flux1.flow.solvers import Steps
from flux1.model.lora import Lora
from flux1.pipeline.encode import Conditioning


@dataclass(frozen=True)
class Row:
    """One evaluation: a point, the conditions to judge it under, and the LoRAs to judge it with,
    each at its scale. `x` stays in fp32."""

    x: Float[Tensor, "image c"]
    t: float
    ids: Int[Tensor, "image 3"]
    conditioning: Conditioning
    guidance: float | None
    loras: tuple[tuple[Lora, float], ...] = ()


class Job:
    """An image between noise and done. It belongs to one thread and owns its solver's memory.

    Drive it with `rows()` and `receive(velocities)` until `done`; `x` is then the image's tokens.
    """

    def __init__(
        self,
        steps: Steps,
        conditions: dict[Condition, Conditioning],
        guidance: Guidance,
        embedded_scale: float | None,
        ids: Int[Tensor, "image 3"],
        loras: tuple[tuple[Lora, float], ...] = (),
    ) -> None:
        self.x: Float[Tensor, "image c"]
        self.t: float
        self.estimate: Float[Tensor, "image c"] | None = None
        self.evaluations = 0
        self.done = False
        self._steps, self._conditions, self._guidance = steps, conditions, guidance
        self._embedded_scale, self._ids, self._loras = embedded_scale, ids, loras
        self.x, self.t = next(steps)

    def rows(self) -> list[Row]:
        """What to evaluate now: one row, or two under classifier-free guidance."""
        return [
            Row(
                self.x, self.t, self._ids, self._conditions[name], self._embedded_scale, self._loras
            )
            for name in self._guidance.rows
        ]

    def receive(self, velocities: Sequence[Float[Tensor, "image c"]]) -> None:
        """Take the answers to `rows()`, in their order, and move on by one evaluation."""
        velocity = self._guidance.combine([v.float() for v in velocities])
        if not torch.isfinite(velocity).all():
            raise Flux1Error(
                f"the model returned values that are not finite at t = {self.t:.3f} "
                f"(evaluation {self.evaluations + 1}); use a wider dtype, for example float32"
            )
        self.estimate = denoised(self.x, self.t, velocity)
        self.evaluations += 1
        try:
            self.x, self.t = self._steps.send(velocity)
        except StopIteration as finished:
            self.x, self.t, self.done = finished.value, 0.0, True
