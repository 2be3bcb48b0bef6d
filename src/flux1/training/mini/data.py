"""The transformer's training set: scenes composed once, encoded once, read many times."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch
from jaxtyping import Float
from rich.progress import Progress
from torch import Tensor

from flux1.errors import DataError
from flux1.model.autoencoder import Autoencoder
from flux1.model.patches import pack
from flux1.pipeline.encode import TextEncoder
from flux1.training.mini.worlds import Painter, S, World
from flux1.training.objective import to_pixels
from flux1.training.transformer import Batch
from flux1.weights.files.safetensors import FileTensors, write_tensors

CHUNK = 256


@dataclass(frozen=True)
class EncodedScenes(Generic[S]):
    """Scenes of one size with their pictures' latents in half precision, `grid` tokens high and
    wide. Their words are not kept: each time that a scene is read it is described anew."""

    scenes: tuple[S, ...]
    tokens: Float[Tensor, "n image c"]
    grid: tuple[int, int]
    world: World[S]

    @classmethod
    def open(cls, folder: Path, grid: tuple[int, int], world: World[S]) -> "EncodedScenes[S]":
        if not (folder / "latents.safetensors").exists():
            raise DataError(
                f"no encoded scenes in {folder}: a recipe makes them (`flux1 train flux-mini`)"
            )
        lines = (folder / "scenes.jsonl").read_text().splitlines()
        tokens = FileTensors(folder / "latents.safetensors")["tokens"]
        if len(lines) != len(tokens):
            raise DataError(f"{folder}: {len(lines)} scenes but {len(tokens)} pictures' latents")
        scenes = tuple(world.from_json(line) for line in lines)
        return cls(scenes, tokens, grid, world)

    def __len__(self) -> int:
        return len(self.scenes)

    def batch(
        self, step: int, size: int, seed: int, caption_dropout: float, text: TextEncoder
    ) -> Batch:
        """Batch `step` of an endless shuffled walk; a pure function of its arguments."""
        per_epoch = len(self) // size
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        rows = order[place * size : (place + 1) * size]
        rng = np.random.default_rng([seed, step, 1])
        words = text([self._words(int(row), caption_dropout, rng) for row in rows])
        txt = torch.stack([c.txt for c in words]).float()
        pooled = torch.stack([c.pooled for c in words]).float()
        return Batch(self.tokens[torch.from_numpy(rows)].to(txt), txt, pooled, self.grid)

    def _words(self, row: int, dropout: float, rng: np.random.Generator) -> str:
        left_out = rng.random() < dropout
        return "" if left_out else self.world.caption(self.scenes[row], rng).words


@dataclass(frozen=True)
class Buckets:
    """Scenes of several sizes. A batch is of one size and has `batch_tokens` image tokens, fewer
    pictures where they are larger; each size has its turn as often as it has batches."""

    parts: tuple[EncodedScenes[Any], ...]
    batch_tokens: int

    def batch(self, step: int, seed: int, caption_dropout: float, text: TextEncoder) -> Batch:
        """Batch `step` of an endless walk; a pure function of its arguments."""
        sizes = [self.batch_tokens // math.prod(part.grid) for part in self.parts]
        batches = np.array([len(part) / n for part, n in zip(self.parts, sizes, strict=True)])
        rng = np.random.default_rng([seed, step, 2])
        turn = int(rng.choice(len(self.parts), p=batches / batches.sum()))
        return self.parts[turn].batch(step, sizes[turn], seed, caption_dropout, text)


def latent_statistics(
    autoencoder: Autoencoder, paint: Painter, seed: int, count: int = 256
) -> tuple[float, float]:
    """(shift, scale) that bring the mean latents of fresh pictures to zero mean and unit
    variance."""
    rng = np.random.default_rng([seed, 2])
    device = autoencoder.encoder.conv_in.weight.device
    latents = []
    for start in range(0, count, 8):
        pictures = np.stack([paint(rng) for _ in range(min(8, count - start))])
        with torch.no_grad():
            latents.append(autoencoder.posterior(to_pixels(pictures).to(device))[0])
    mean = torch.cat(latents)
    return mean.mean().item(), 1 / mean.std().item()


def encode_scenes(
    folder: Path,
    autoencoder: Autoencoder,
    world: World[S],
    size: tuple[int, int],
    count: int,
    seed: int,
    precision: torch.dtype,
    progress: Progress,
) -> None:
    """Compose `count` scenes of a size (width, height) and write them to `folder` with their
    latents. `precision` is that of the autoencoder's products; what is kept is float16."""
    task = progress.add_task("encoding scenes", total=count)
    device = autoencoder.encoder.conv_in.weight.device
    narrow = torch.autocast(device.type, precision, enabled=precision != torch.float32)
    lines, latents = [], []
    for chunk in range(-(-count // CHUNK)):
        rng = np.random.default_rng([seed, chunk])
        fresh = min(CHUNK, count - chunk * CHUNK)
        scenes = [world.sample(rng, size) for _ in range(fresh)]
        pictures = np.stack([world.picture(scene, size, rng) for scene in scenes])
        with torch.no_grad(), narrow:
            pixels = to_pixels(pictures).to(device, memory_format=torch.channels_last)
            latents += [pack(autoencoder.encode(part)).half().cpu() for part in pixels.split(8)]
        lines += [world.to_json(scene) + "\n" for scene in scenes]
        progress.advance(task, fresh)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scenes.jsonl").write_text("".join(lines))
    write_tensors(folder / "latents.safetensors", {"tokens": torch.cat(latents)})
