"""Objective: predict v = noise - image along the straight path (arXiv 2209.03003, 2403.03206)."""

from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from flux1.flow.path import mix, velocity
from flux1.flow.schedule import training_times
from flux1.model.transformer import Transformer
from flux1.pipeline.loaded import Loaded
from flux1.training.mini.data import Buckets
from flux1.training.objective import ParameterGroups
from flux1.training.transformer import Batch, drawn_sheet, parameter_groups, predict, squared_error


@dataclass
class RectifiedFlowObjective:
    """Mean squared error of the velocity, at logit-normal times shifted for the resolution.

    `networks` hold the transformer that is trained, and draws the previews. A network with a
    guidance embedding is told 1, the scale that leaves the prompt's own distribution as it is.
    """

    networks: Loaded
    scenes: Buckets
    preview_prompts: tuple[str, ...]
    seed: int
    caption_dropout: float = 0.1
    preview_scale: float = 3.0
    unit: str = "images"

    @property
    def model(self) -> Transformer:
        return self.networks.transformer

    def batch(self, step: int) -> Batch:
        return self.scenes.batch(step, self.seed, self.caption_dropout, self.networks.text)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        image = batch.tokens
        noise = torch.randn(image.shape, generator=generator).to(image.device)
        t = training_times(len(image), image.shape[1], generator).to(image.device)
        predicted = self._velocity(mix(image, noise, t), t, batch)
        return squared_error(predicted, velocity(image, noise), t)

    def _velocity(self, x: Tensor, t: Tensor, batch: Batch) -> Tensor:
        one = torch.ones_like(t) if self.model.config.guidance_embed else None
        return predict(self.model, x, t, batch, one)

    def groups(self) -> ParameterGroups:
        return parameter_groups(self.model)

    def preview(self, model: Transformer) -> Image.Image:
        """One picture for each preview prompt, with classifier-free guidance."""
        networks = replace(self.networks, transformer=model)
        grid = self.scenes.parts[0].grid
        return drawn_sheet(
            networks, self.preview_prompts, grid, steps=16, true_cfg=self.preview_scale
        )
