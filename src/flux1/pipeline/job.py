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
from flux1.presets import OWN, Preset


@dataclass(frozen=True)
class Row:
    """One evaluation: a point, the conditions to judge it under, and the LoRAs to judge it with,
    each at its scale. `like` says how the network is told of it."""

    x: Float[Tensor, "image c"]
    t: float
    ids: Int[Tensor, "image 3"]
    conditioning: Conditioning
    guidance: float | None
    loras: tuple[tuple[Lora, float], ...] = ()
    like: Preset = OWN
    modulation: Float[Tensor, " all"] | None = None  # where it was computed beforehand


class Job:
    """An image between noise and done. It belongs to one thread and owns its solver's memory.
    Its steps are computed in the dtype of the noise (fp32, if no preset says otherwise).

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
        like: Preset = OWN,
        schedule: Sequence[float] = (),
    ) -> None:
        """`schedule`: the times of all evaluations, where they are known beforehand."""
        self.x: Float[Tensor, "image c"]
        self.t: float
        self.estimate: Float[Tensor, "image c"] | None = None
        self.evaluations = 0
        self.done = False
        self._steps, self._conditions, self._guidance = steps, conditions, guidance
        self._embedded_scale, self._ids = embedded_scale, ids
        self._loras, self._like = loras, like
        self._schedule = schedule
        self._modulations: dict[tuple[float, Condition], Float[Tensor, " all"]] = {}
        self.x, self.t = next(steps)

    def rows(self) -> list[Row]:
        """What to evaluate now: one row, or two under classifier-free guidance."""
        return self._rows(self.t)

    def rows_ahead(self, evaluations: int) -> list[Row]:
        """The rows of so many evaluations from now on, as far as the schedule tells: their points
        are not known yet, all else is."""
        ahead = self._schedule[self.evaluations : self.evaluations + evaluations]
        return [row for t in ahead for row in self._rows(t)]

    def modulate(self, modulations: Sequence[Float[Tensor, " all"]]) -> None:
        """Take what modulates the network in the `rows_ahead`, in their order; what was taken
        before is dropped."""
        names = self._guidance.rows
        times = self._schedule[self.evaluations :]
        places = [(t, name) for t in times for name in names][: len(modulations)]
        self._modulations = dict(zip(places, modulations, strict=True))

    def _rows(self, t: float) -> list[Row]:
        return [
            Row(
                self.x, t, self._ids, self._conditions[name], self._embedded_scale,
                self._loras, self._like, self._modulations.get((t, name)),
            )
            for name in self._guidance.rows
        ]  # fmt: skip

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
