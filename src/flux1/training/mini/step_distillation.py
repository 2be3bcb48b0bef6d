"""Objective: few long steps that end where the teacher's many short ones end.

The student draws from noise in `steps` steps. From each point that it reaches, the teacher goes on
to the next time in several steps of its own, and the student's velocity is drawn towards the
straight line to where the teacher came. So it is progressive distillation (Salimans & Ho 2022,
arXiv 2202.00512) in one go, in windows as PeRFlow's (Yan et al. 2024, arXiv 2405.07510), on the
student's own states: at the end it has learnt from just the points that it draws through.

Why not an adversarial loss (LADD, arXiv 2403.12015): the teacher's path is a function of where it
starts, so the mean that a squared error learns is the path itself and no blur of many; there is no
second network to keep in balance; and no picture is needed, only words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from flux1.flow.schedule import sampling_times, shift_mu
from flux1.flow.solvers import SOLVERS
from flux1.pipeline.loaded import Loaded
from flux1.training.mini.data import Buckets
from flux1.training.objective import ParameterGroups
from flux1.training.transformer import Batch, drawn_sheet, predict


@dataclass
class StepDistillationObjective:
    """Mean squared distance of the student's velocities to the teacher's mean ones, a window each.

    `model` is the student, a LoRA beside the teacher's own weights; neither has a guidance
    embedding. `scenes` give words and sizes, their pictures are not looked at.
    """

    model: nn.Module
    teacher: nn.Module
    networks: Loaded
    scenes: Buckets
    preview_prompts: tuple[str, ...]
    seed: int
    steps: int = 4
    teacher_steps: int = 2  # of each window, by the midpoint method: two evaluations each
    unit: str = "images"

    def batch(self, step: int) -> Batch:
        return self.scenes.batch(step, self.seed, 0.0, self.networks.text)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        x = torch.randn(batch.tokens.shape, generator=generator).to(batch.tokens.device)
        times = sampling_times(self.steps, shift_mu(x.shape[1]))
        losses = []
        for t, s in pairwise(times):
            wanted = (self._reached(x, t, s, batch) - x) / (s - t)
            v = predict(self.model, x, x.new_full((len(x),), t), batch)
            losses.append(F.mse_loss(v, wanted))
            x = x + (s - t) * v.detach()
        figures = {f"window_{i}": loss.item() for i, loss in enumerate(losses, start=1)}
        return torch.stack(losses).mean(), figures

    @torch.no_grad()
    def _reached(
        self, x: Float[Tensor, "b image c"], t: float, s: float, batch: Batch
    ) -> Float[Tensor, "b image c"]:
        """Return where the teacher comes from x, between the times t and s."""
        solver = SOLVERS["midpoint"].run(x, _between(t, s, self.teacher_steps))
        point = next(solver)
        while True:
            now, time = point
            v = predict(self.teacher, now, now.new_full((len(now),), time), batch)
            try:
                point = solver.send(v)
            except StopIteration as end:
                reached: Tensor = end.value
                return reached

    def groups(self) -> ParameterGroups:
        return ParameterGroups([], list(self.model.parameters()))

    def preview(self, model: nn.Module) -> Image.Image:
        """One picture for each preview prompt, in as many steps as are learnt; the pipeline's
        transformer is the one beside which the student's branches are."""
        grid = self.scenes.parts[0].grid
        return drawn_sheet(self.networks, self.preview_prompts, grid, steps=self.steps)


def _between(t: float, s: float, count: int) -> Sequence[float]:
    return [t + (s - t) * i / count for i in range(count + 1)]
