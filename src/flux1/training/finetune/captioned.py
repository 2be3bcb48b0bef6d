"""Objective: learn captioned pictures, by the transformer itself or by a LoRA beside it."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from flux1.flow.path import mix, velocity
from flux1.flow.schedule import training_times
from flux1.pipeline.loaded import Loaded
from flux1.training.finetune.encoded import EncodedPictures, NamedBatch
from flux1.training.finetune.remarks import Remarks
from flux1.training.objective import ParameterGroups
from flux1.training.transformer import Batch, by_time, drawn_sheet, predict, squared_errors


@dataclass
class CaptionedObjective:
    """Mean squared error of the velocity at logit-normal times, shifted for the resolution.

    `model` learns; the network that predicts is the pipeline's, whose text encoder remembers all
    captions. `guidance` is what a network that embeds it is told. A picture whose error is not
    finite is left out of that step, and `remarks` are told its name.
    """

    model: nn.Module
    networks: Loaded
    pictures: EncodedPictures
    guidance: float | None
    prompts: tuple[str, ...] = ()
    remarks: Remarks = field(default_factory=Remarks)
    unit: str = "images"

    def batch(self, step: int) -> NamedBatch:
        return self.pictures.batch(step, self.networks.text)

    def loss(
        self, batch: NamedBatch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        world, count = self.pictures.world, self.pictures.batch_size
        device, shape = self.networks.device, batch.tokens.shape[1:]
        noise = world.own(torch.randn((count, *shape), generator=generator)).to(device)
        t = world.own(training_times(count, shape[0], generator)).to(device)
        errors = self.errors(batch, noise, t)
        good = errors.detach().isfinite()
        loss, shown = errors.mean(), errors.detach()
        if world.any(not bool(good.all()), device):
            loss, shown = self._without_the_others(batch, noise, t, good)
        return loss, by_time(*_finite(world.gather(shown), world.gather(t)))

    def errors(
        self, batch: Batch, noise: Float[Tensor, "b image c"], t: Float[Tensor, " b"]
    ) -> Float[Tensor, " b"]:
        """The mean squared error of the velocity of each row at time t with this noise."""
        device = noise.device
        image = batch.tokens.to(device)
        words = Batch(image, batch.txt.to(device), batch.pooled.to(device), batch.grid)
        guidance = None if self.guidance is None else torch.full_like(t, self.guidance)
        network = self.networks.transformer
        predicted = predict(network, mix(image, noise, t), t, words, guidance)
        return squared_errors(predicted, velocity(image, noise))

    def _without_the_others(
        self, batch: NamedBatch, noise: Tensor, t: Tensor, good: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss and errors of the good rows alone: what is not finite, even multiplied by nothing,
        would not let the gradient be. With no good row, neither is finite."""
        for name, fine in zip(batch.names, good.tolist(), strict=True):
            if not fine:
                self.remarks.add("without a finite loss, left out of their steps", name)
        kept = good if bool(good.any()) else torch.ones_like(good)
        here = kept.cpu()
        rest = Batch(batch.tokens[here], batch.txt[here], batch.pooled[here], batch.grid)
        errors = self.errors(rest, noise[kept], t[kept])
        shown = torch.full_like(t, torch.nan)
        shown[kept] = errors.detach()
        return errors.mean(), shown

    def groups(self) -> ParameterGroups:
        return ParameterGroups([], list(self.model.parameters()))

    def preview(self, model: nn.Module) -> Image.Image | None:
        """One picture for each prompt, at the size that most pictures have, as the model draws by
        default."""
        if not self.prompts:
            return None
        return drawn_sheet(self.networks, self.prompts, self.pictures.sizes[0][0].grid)


def _finite(errors: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    fine = errors.isfinite()
    return errors[fine], t[fine]
