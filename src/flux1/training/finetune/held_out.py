"""Pictures that are held out of the learning, and the loss on them: whether a run still gets better
at what it has not seen."""

import hashlib
from dataclasses import dataclass

import torch

from flux1.errors import DataError
from flux1.training.finetune.captioned import CaptionedObjective
from flux1.training.finetune.encoded import EncodedPicture, batch_of

TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)  # always these, with the same noise: rows can be compared


def divided(
    pictures: tuple[EncodedPicture, ...], share: float
) -> tuple[tuple[EncodedPicture, ...], tuple[EncodedPicture, ...]]:
    """The pictures that are learnt, and those that are held out: a share of the names, at least one
    if it is not 0, whichever have the smallest hash. DataError if none is left to learn."""
    names = sorted({one.name for one in pictures}, key=_hash)
    count = max(1, round(share * len(names))) if share else 0
    if count == len(names):
        raise DataError(f"held_out: {share} of {len(names)} pictures leaves none to learn from")
    held = set(names[:count])
    learnt = tuple(one for one in pictures if one.name not in held)
    return learnt, tuple(dict.fromkeys(one for one in pictures if one.name in held))


@dataclass(frozen=True)
class HeldOut:
    """The held-out pictures of a run. `precision` is that of the matrix products."""

    objective: CaptionedObjective
    pictures: tuple[EncodedPicture, ...]
    precision: str

    def figures(self) -> dict[str, float]:
        """The mean squared error of the velocity over all pictures and TIMES, as a row of the log;
        nothing if no picture was held out. All processes must call it, and get the same."""
        if not self.pictures:
            return {}
        losses = [self._loss(number, one) for number, one in enumerate(self.pictures)]
        return {"validation_loss": sum(losses) / len(losses)}

    @torch.no_grad()
    def _loss(self, number: int, picture: EncodedPicture) -> float:
        """Each time is a row of one batch, and each picture has noise of its own."""
        networks, count = self.objective.networks, len(TIMES)
        batch = batch_of([picture] * count, [picture.caption] * count, networks.text)
        generator = torch.Generator().manual_seed(number)
        noise = torch.randn(batch.tokens.shape, generator=generator).to(networks.device)
        t = torch.tensor(TIMES, device=networks.device)
        narrow = self.precision == "bfloat16"
        with torch.autocast(networks.device.type, torch.bfloat16, enabled=narrow):
            return float(self.objective.errors(batch, noise, t).mean())


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="surrogateescape")).digest()
