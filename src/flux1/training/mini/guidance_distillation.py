"""Objective: say in one evaluation what classifier-free guidance says in two (Meng et al. 2022,
arXiv 2210.03142, stage one).

The student is told the scale w through its guidance embedding; the teacher, the network that the
student began as, is asked with the prompt and without it. FLUX.1 [dev] was made so from [pro].

Guided pictures are none that the scenes show, so scenes with noise on them are not where the
student draws. Half of a batch begins as noise instead, the other half as noisy scenes, and both
go on along the student's own velocities; it learns at every point on the way (its own mistakes
included: DAgger, Ross et al. 2011, arXiv 1011.0686). A point costs no evaluation beyond those that
its loss needs.
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from flux1.flow.guidance import classifier_free
from flux1.flow.path import mix
from flux1.flow.schedule import shift_mu, shifted, training_times
from flux1.model.transformer import Transformer
from flux1.pipeline.encode import Conditioning
from flux1.pipeline.loaded import Loaded
from flux1.training.mini.data import Buckets
from flux1.training.objective import ParameterGroups
from flux1.training.transformer import (
    Batch,
    by_time,
    drawn_sheet,
    initialise,
    parameter_groups,
    predict,
    squared_errors,
)


def student_of(teacher: Transformer) -> Transformer:
    """The same network with a guidance embedding that says nothing yet: told anything, it answers
    as the teacher does."""
    student = Transformer(replace(teacher.config, guidance_embed=True))
    initialise(student)
    student.load_state_dict(teacher.state_dict(), strict=False)
    return student.to(teacher.img_in.weight.device)


@dataclass
class GuidanceDistillationObjective:
    """Squared distance to v_neg + w (v_pos - v_neg) at `points` points of a way, w uniform in
    `scales`. It is divided by 1 + (w - 1)^2, as the target's variance grows: otherwise the largest
    scales would be all that counts.

    `networks` hold the student and draws the previews; `teacher` has no guidance embedding.
    """

    networks: Loaded
    teacher: Transformer
    scenes: Buckets
    preview_prompts: tuple[str, ...]
    seed: int
    scales: tuple[float, float] = (1.0, 7.0)
    points: int = 6
    caption_dropout: float = 0.05
    preview_scale: float = 3.5
    unit: str = "images"
    _nothing: Conditioning = field(init=False)

    def __post_init__(self) -> None:
        (self._nothing,) = self.networks.text([""])

    @property
    def model(self) -> Transformer:
        return self.networks.transformer

    def batch(self, step: int) -> Batch:
        return self.scenes.batch(step, self.seed, self.caption_dropout, self.networks.text)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        image = batch.tokens
        count = len(image)
        noise = torch.randn(image.shape, generator=generator).to(image.device)
        begin = training_times(count, image.shape[1], generator)
        begin[: count // 2] = 1.0
        times = ways(begin, self.points, shift_mu(image.shape[1]), generator).to(image.device)
        low, high = self.scales
        w = (low + (high - low) * torch.rand(count, generator=generator)).to(image.device)
        x = mix(image, noise, times[0])
        errors = []
        for t, s in pairwise(times):
            v = predict(self.model, x, t, batch, w)
            errors.append(squared_errors(v, self._guided(x, t, batch, w)) / (1 + (w - 1) ** 2))
            x = x + (s - t)[:, None, None] * v.detach()
        of_all = torch.cat(errors)
        return of_all.mean(), by_time(of_all.detach(), times[:-1].flatten())

    @torch.no_grad()
    def _guided(
        self, x: Float[Tensor, "b image c"], t: Float[Tensor, " b"], batch: Batch, w: Tensor
    ) -> Float[Tensor, "b image c"]:
        """The teacher's velocity at scale w, both conditions in one call."""
        nothing = self._nothing
        both = replace(
            batch,
            tokens=x.repeat(2, 1, 1),
            txt=torch.cat([batch.txt, nothing.txt.to(batch.txt).expand_as(batch.txt)]),
            pooled=torch.cat([batch.pooled, nothing.pooled.to(batch.txt).expand_as(batch.pooled)]),
        )
        answers = predict(self.teacher, both.tokens, t.repeat(2), both).chunk(2)
        return classifier_free(w[:, None, None]).combine(answers)

    def groups(self) -> ParameterGroups:
        return parameter_groups(self.model)

    def preview(self, model: Transformer) -> Image.Image:
        """One picture for each preview prompt, one evaluation a step."""
        networks = replace(self.networks, transformer=model)
        grid = self.scenes.parts[0].grid
        return drawn_sheet(
            networks, self.preview_prompts, grid, steps=16, guidance=self.preview_scale
        )


def ways(
    begin: Float[Tensor, " b"], points: int, mu: float, generator: torch.Generator
) -> Float[Tensor, "times b"]:
    """points + 1 falling times from `begin` to 0. Those between are drawn anew for each row, one in
    each of equal parts of the sampler's steps, so that in the long run no time is left out."""
    parts = torch.arange(1, points)[:, None]
    done = (parts - torch.rand(points - 1, len(begin), generator=generator)) / max(1, points - 1)
    left = torch.cat([torch.ones(1, len(begin)), 1 - done, torch.zeros(1, len(begin))])
    return begin * shifted(left, mu)
