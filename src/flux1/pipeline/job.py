"""One image in flight: where it is on its path, and what it wants evaluated next."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flux1.errors import Flux1Error
from flux1.flow.guidance import Condition, Guidance
from flux1.flow.path import denoised
from flux1.flow.solvers import Solver
from flux1.model.lora import Lora
from flux1.model.patches import image_ids
from flux1.pipeline.encode import Conditioning
from flux1.presets import OWN, Preset


@dataclass(frozen=True)
class Row:
    """One evaluation: a point, the conditions to judge it under, and the LoRAs to judge it with,
    each at its scale. `preset` says how the network's inputs are rounded."""

    x: Float[Tensor, "image c"]
    t: float
    ids: Int[Tensor, "image 3"]
    conditioning: Conditioning
    guidance: float | None
    loras: tuple[tuple[Lora, float], ...] = ()
    preset: Preset = OWN


class Job:
    """An image between noise and done. It belongs to one thread and owns its solver's memory.
    Its steps are computed in the dtype of the noise (fp32, if no preset says otherwise).

    Drive it with `rows()` and `receive(velocities)` until `done`; `x` is then the image's tokens.
    """

    def __init__(
        self,
        noise: Float[Tensor, "image c"],
        times: Sequence[float],
        solver: Solver,
        conditions: dict[Condition, Conditioning],
        guidance: Guidance,
        embedded_scale: float | None,
        grid: tuple[int, int],
        loras: tuple[tuple[Lora, float], ...] = (),
        preset: Preset = OWN,
    ) -> None:
        """`times` of the steps, from 1 down to 0. `grid`: rows and columns of image tokens."""
        self.x: Float[Tensor, "image c"]
        self.t: float
        self.estimate: Float[Tensor, "image c"] | None = None
        self.evaluations = 0
        self.done = False
        self._steps, self._schedule = solver.run(noise, times), solver.times(times)
        self._conditions, self._guidance = conditions, guidance
        self._embedded_scale, self._ids = embedded_scale, image_ids(*grid)
        self._loras, self._preset = loras, preset
        self.x, self.t = next(self._steps)

    def rows(self) -> list[Row]:
        """Return the rows to evaluate now: one row, or two under classifier-free guidance."""
        return self._rows(self.t)

    def rows_ahead(self, evaluations: int) -> list[Row]:
        """The rows of so many evaluations from now on: their points are not known yet, all else
        is."""
        ahead = self._schedule[self.evaluations : self.evaluations + evaluations]
        return [row for t in ahead for row in self._rows(t)]

    def _rows(self, t: float) -> list[Row]:
        return [
            Row(
                self.x,
                t,
                self._ids,
                self._conditions[name],
                self._embedded_scale,
                self._loras,
                self._preset,
            )
            for name in self._guidance.rows
        ]

    def receive(self, velocities: Sequence[Float[Tensor, "image c"]]) -> None:
        """Take the answers to `rows()`, in their order, and move on by one evaluation."""
        velocity = self._guidance.combine([v.to(self.x.dtype) for v in velocities])
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
