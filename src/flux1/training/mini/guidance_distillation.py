"""Objective: say in one evaluation what classifier-free guidance says in two (Meng et al. 2022,
arXiv 2210.03142, stage one).

The student is told the scale w through its guidance embedding; the teacher, the network that the
student began as, is asked with the prompt and without it. FLUX.1 [dev] was made so from [pro].
"""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from flux1.flow.guidance import classifier_free
from flux1.flow.path import mix
from flux1.flow.schedule import training_times
from flux1.model.transformer import Transformer
from flux1.pipeline.encode import Conditioning
from flux1.pipeline.pipeline import FluxPipeline
from flux1.training.mini.data import Buckets
from flux1.training.objective import ParameterGroups
from flux1.training.transformer import (
    Batch,
    drawn_sheet,
    initialise,
    parameter_groups,
    predict,
    squared_error,
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
    """Mean squared distance to v_neg + w (v_pos - v_neg), w uniform in `scales`.

    `pipeline` holds the student and draws the previews; `teacher` has no guidance embedding.
    """

    pipeline: FluxPipeline
    teacher: Transformer
    scenes: Buckets
    preview_prompts: tuple[str, ...]
    seed: int
    scales: tuple[float, float] = (1.0, 7.0)
    caption_dropout: float = 0.05
    preview_scale: float = 3.5
    unit: str = "images"
    _nothing: Conditioning = field(init=False)

    def __post_init__(self) -> None:
        (self._nothing,) = self.pipeline.text([""])

    @property
    def model(self) -> Transformer:
        return self.pipeline.transformer

    def batch(self, step: int) -> Batch:
        return self.scenes.batch(step, self.seed, self.caption_dropout, self.pipeline.text)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        image = batch.tokens
        noise = torch.randn(image.shape, generator=generator).to(image.device)
        t = training_times(len(image), image.shape[1], generator).to(image.device)
        low, high = self.scales
        w = (low + (high - low) * torch.rand(len(image), generator=generator)).to(image.device)
        x = mix(image, noise, t)
        return squared_error(predict(self.model, x, t, batch, w), self._guided(x, t, batch, w), t)

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
        pipeline, grid = replace(self.pipeline, transformer=model), self.scenes.parts[0].grid
        return drawn_sheet(
            pipeline, self.preview_prompts, grid, steps=16, guidance=self.preview_scale
        )
