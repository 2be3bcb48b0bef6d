"""Pictures of several sizes, encoded, as an endless walk of batches."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from flux1.errors import DataError, Flux1Error
from flux1.pipeline.encode import TextEncoder
from flux1.training.distributed import ALONE, World
from flux1.training.finetune.cache import read_tokens
from flux1.training.transformer import Batch

GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class EncodedPicture:
    """A picture's latents in the cache, `grid` tokens high and wide."""

    name: str
    caption: str
    latents: Path
    grid: tuple[int, int]


@dataclass(frozen=True)
class NamedBatch(Batch):
    """A process's share of a batch, and which pictures these are."""

    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncodedPictures:
    """A batch is of one size. Sizes take turns in proportion to their pictures, and within a size
    every picture comes once before one comes again: so all pictures are shown equally often,
    however few there are of a size. A size of fewer pictures than a batch repeats them in it, each
    time with other noise."""

    pictures: tuple[EncodedPicture, ...]
    batch_size: int
    seed: int
    caption_dropout: float
    world: World = ALONE
    _turns: list[np.ndarray] = field(default_factory=list, repr=False)

    @cached_property
    def sizes(self) -> list[list[EncodedPicture]]:
        """The pictures of each size, the size with most of them first."""
        alike: dict[tuple[int, int], list[EncodedPicture]] = defaultdict(list)
        for picture in self.pictures:
            alike[picture.grid].append(picture)
        return sorted(alike.values(), key=lambda pictures: (-len(pictures), pictures[0].grid))

    def batch(self, step: int, text: TextEncoder) -> NamedBatch:
        """This process's share of batch `step`; a pure function of its argument."""
        turns = self._turns_to(step)
        size = int(turns[step])
        pictures, first = self.sizes[size], int((turns[:step] == size).sum()) * self.batch_size
        places = range(first + self.world.rank, first + self.batch_size, self.world.size)
        shown = [pictures[self._row(size, place)] for place in places]
        dropped = np.random.default_rng([self.seed, step, 1]).random(self.batch_size)
        keeps = dropped[self.world.rank :: self.world.size] >= self.caption_dropout
        captions = [p.caption if keep else "" for p, keep in zip(shown, keeps, strict=True)]
        return batch_of(shown, captions, text)

    def _turns_to(self, step: int) -> np.ndarray:
        """Whose turn it is at every step so far: multiples of the golden section fall evenly."""
        if not self._turns or len(self._turns[0]) <= step:
            steps = np.arange(max(1024, 2 * (step + 1)))
            shares = np.cumsum([len(pictures) for pictures in self.sizes]) / len(self.pictures)
            points = (0.5 + steps * GOLDEN) % 1
            self._turns[:] = [np.searchsorted(shares[:-1], points, side="right")]
        return self._turns[0]

    def _row(self, size: int, place: int) -> int:
        """The picture at a place of a size's endless shuffled walk."""
        count = len(self.sizes[size])
        epoch, position = divmod(place, count)
        order = np.random.default_rng([self.seed, size, epoch, 0]).permutation(count)
        return int(order[position])


def batch_of(
    pictures: Sequence[EncodedPicture], captions: Sequence[str], text: TextEncoder
) -> NamedBatch:
    """Pictures of one size with these captions. DataError if one cannot be read any more."""
    words = text(captions)
    return NamedBatch(
        # widened first: under autocast a CPU stacks no float16
        torch.stack([_tokens(picture).float() for picture in pictures]),
        torch.stack([one.txt.float() for one in words]),
        torch.stack([one.pooled.float() for one in words]),
        pictures[0].grid,
        tuple(picture.name for picture in pictures),
    )


def _tokens(picture: EncodedPicture) -> torch.Tensor:
    try:
        return read_tokens(picture.latents)
    except Flux1Error as failure:
        raise DataError(
            f"{picture.name}: what was encoded of it cannot be read any more: {failure}; run the "
            "same again: it is encoded anew"
        ) from failure
