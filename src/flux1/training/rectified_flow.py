"""Objective: predict v = noise - image along the straight path (arXiv 2209.03003, 2403.03206)."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

from flux1.flow.guidance import classifier_free
from flux1.flow.noise import initial_noise
from flux1.flow.path import mix, velocity
from flux1.flow.schedule import sampling_times, shift_mu, training_times
from flux1.flow.solvers import euler
from flux1.model.autoencoder import Autoencoder
from flux1.model.patches import image_ids, pack, text_ids, unpack
from flux1.model.transformer import Transformer
from flux1.pipeline.encode import Conditioning
from flux1.training.data import Batch, LatentCache
from flux1.training.objective import ParameterGroups


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
    """Mean squared error of the velocity, at logit-normal times shifted for the resolution."""

    model: Transformer
    cache: LatentCache
    autoencoder: Autoencoder
    preview_conditions: list[Conditioning]
    batch_size: int
    seed: int
    caption_dropout: float = 0.1
    grid: tuple[int, int] = (8, 8)
    preview_steps: int = 16
    preview_scale: float = 3.0
    _ids: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._ids = image_ids(*self.grid)

    def batch(self, step: int) -> Batch:
        return self.cache.batch(step, self.batch_size, self.seed, self.caption_dropout)

    def _velocity(self, model: Transformer, x: Tensor, t: Tensor, batch: Batch) -> Tensor:
        count = len(x)
        return model(
            x,
            self._ids.expand(count, -1, -1),
            batch.txt,
            text_ids(batch.txt.shape[1]).expand(count, -1, -1),
            t,
            batch.pooled,
        )

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        image = batch.tokens
        noise = torch.empty_like(image).normal_(generator=generator)
        t = training_times(len(image), image.shape[1], generator)
        predicted = self._velocity(self.model, mix(image, noise, t), t, batch)
        errors = F.mse_loss(predicted.float(), velocity(image, noise), reduction="none").mean(
            dim=(1, 2)
        )
        noisy = t > 0.6
        figures = {"low_t": errors[~noisy], "high_t": errors[noisy]}
        return errors.mean(), {k: v.detach().mean().item() for k, v in figures.items() if len(v)}

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

    @torch.no_grad()
    def preview(self, model: Transformer) -> Image.Image:
        """One picture for each preview prompt, with classifier-free guidance."""
        conditions, count = self.preview_conditions, len(self.preview_conditions)
        rows, columns = self.grid
        channels = self.autoencoder.config.latent_channels
        noise = [initial_noise(i, channels, rows * 2, columns * 2) for i in range(count)]
        positive = Batch(
            torch.empty(0),
            torch.stack([c.txt for c in conditions]),
            torch.stack([c.pooled for c in conditions]),
        )
        negative = Batch(
            torch.empty(0),
            self.cache.empty.txt.float().expand_as(positive.txt),
            self.cache.empty.pooled.float().expand_as(positive.pooled),
        )
        combine = classifier_free(self.preview_scale).combine
        solver = euler(
            pack(torch.cat(noise)), sampling_times(self.preview_steps, shift_mu(rows * columns))
        )
        x, t = next(solver)
        while True:
            times = torch.full((count,), t)
            velocities = [self._velocity(model, x, times, b) for b in (positive, negative)]
            try:
                x, t = solver.send(combine(velocities))
            except StopIteration as finished:
                x = finished.value
                break
        pictures = self.autoencoder.decode(unpack(x, rows, columns)).clamp(-1, 1)
        bytes_ = ((pictures + 1) * 127.5).round().byte()
        return Image.fromarray(
            rearrange(bytes_, "(r n) c h w -> (r h) (n w) c", n=min(8, count)).numpy()
        )
