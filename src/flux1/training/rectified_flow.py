"""Objective: predict v = noise - image along the straight path (arXiv 2209.03003, 2403.03206)."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from flux1.events import Finished
from flux1.flow.path import mix, velocity
from flux1.flow.schedule import training_times
from flux1.model.patches import image_ids, text_ids
from flux1.model.transformer import Transformer
from flux1.pipeline.pipeline import FluxPipeline
from flux1.request import make_request
from flux1.training.data import Batch, EncodedScenes
from flux1.training.objective import ParameterGroups, sheet


def initialise(model: Transformer, context_std: float = 0.4) -> None:
    """Weights to start from: modulation and output at zero, so that every block begins as the
    identity (Peebles & Xie 2023); text projections scaled for features of that deviation."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            nn.init.zeros_(module.bias)
    for embedder in (model.txt_in, model.vector_in.in_layer):
        nn.init.normal_(embedder.weight, std=embedder.in_features**-0.5 / context_std)
    for name, module in model.named_modules():
        if name.endswith((".lin", "adaLN_modulation.1")) or name == "final_layer.linear":
            nn.init.zeros_(module.weight)


@dataclass
class RectifiedFlowObjective:
    """Mean squared error of the velocity, at logit-normal times shifted for the resolution.

    `pipeline` holds the transformer that is trained, and draws the previews. A network with a
    guidance embedding is told 1, the scale that leaves the prompt's own distribution as it is.
    """

    pipeline: FluxPipeline
    scenes: EncodedScenes
    preview_prompts: tuple[str, ...]
    batch_size: int
    seed: int
    caption_dropout: float = 0.1
    grid: tuple[int, int] = (8, 8)
    preview_scale: float = 3.0
    unit: str = "images"

    @property
    def model(self) -> Transformer:
        return self.pipeline.transformer

    def batch(self, step: int) -> Batch:
        return self.scenes.batch(
            step, self.batch_size, self.seed, self.caption_dropout, self.pipeline.text
        )

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        image = batch.tokens
        noise = torch.randn(image.shape, generator=generator).to(image.device)
        t = training_times(len(image), image.shape[1], generator).to(image.device)
        predicted = self._velocity(mix(image, noise, t), t, batch)
        truth = velocity(image, noise)
        errors = F.mse_loss(predicted.float(), truth, reduction="none").mean(dim=(1, 2))
        noisy = t > 0.6
        figures = {"low_t": errors[~noisy], "high_t": errors[noisy]}
        return errors.mean(), {k: v.detach().mean().item() for k, v in figures.items() if len(v)}

    def _velocity(self, x: Tensor, t: Tensor, batch: Batch) -> Tensor:
        count, device = len(x), x.device
        ones = torch.ones(count, device=device)
        predicted: Tensor = self.model(
            x,
            image_ids(*self.grid).to(device).expand(count, -1, -1),
            batch.txt,
            text_ids(batch.txt.shape[1]).to(device).expand(count, -1, -1),
            t,
            batch.pooled,
            ones if self.model.config.guidance_embed else None,
        )
        return predicted

    def groups(self) -> ParameterGroups:
        """Muon moves the matrices inside the blocks; embeddings, modulation, norms and the output
        layer are AdamW's."""
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in self.model.named_parameters():
            inside = "_blocks." in name and parameter.ndim == 2
            hidden = inside and not name.endswith(".lin.weight")
            (matrices if hidden else others).append(parameter)
        return ParameterGroups(matrices, others)

    def preview(self, model: Transformer) -> Image.Image:
        """One picture for each preview prompt, with classifier-free guidance."""
        pipeline = replace(self.pipeline, transformer=model)
        rows, columns = self.grid
        side = self.pipeline.variant.size_multiple
        requests = [
            make_request(
                pipeline.variant, prompt, width=columns * side, height=rows * side, steps=16,
                true_cfg=self.preview_scale, seed=i,
            )
            for i, prompt in enumerate(self.preview_prompts)
        ]  # fmt: skip
        drawn = [event for event in pipeline.stream(requests) if isinstance(event, Finished)]
        drawn.sort(key=lambda event: event.image)
        return sheet([event.picture for event in drawn], columns=8)
