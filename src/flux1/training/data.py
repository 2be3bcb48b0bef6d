"""The transformer's training set: scenes composed once, encoded once, read many times."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.progress import Progress
from torch import Tensor

from flux1.errors import DataError
from flux1.model.autoencoder import Autoencoder
from flux1.model.patches import pack
from flux1.pipeline.encode import Conditioning, TextEncoder
from flux1.training.autoencoder import to_pixels
from flux1.training.scenes import caption, render, sample_scene
from flux1.training.sprites import Sprites
from flux1.weights.safetensors import FileTensors, write_tensors

CHUNK = 256


@dataclass(frozen=True)
class Batch:
    """Image tokens with their captions' features."""

    tokens: Float[Tensor, "b image c"]
    txt: Float[Tensor, "b text d"]
    pooled: Float[Tensor, "b p"]

    def to(self, device: torch.device) -> "Batch":
        return Batch(self.tokens.to(device), self.txt.to(device), self.pooled.to(device))


@dataclass(frozen=True)
class LatentCache:
    """Encoded scenes in half precision; `empty` is what a dropped caption becomes."""

    scenes: Batch
    empty: Conditioning

    @classmethod
    def open(cls, path: Path) -> "LatentCache":
        if not path.exists():
            raise DataError(
                f"no encoded scenes at {path}: a recipe makes them (`flux1 train flux-mini`)"
            )
        read = dict(FileTensors(path))
        return cls(
            Batch(read["tokens"], read["txt"], read["pooled"]),
            Conditioning(read["empty_txt"], read["empty_pooled"]),
        )

    def __len__(self) -> int:
        return len(self.scenes.tokens)

    def batch(self, step: int, size: int, seed: int, caption_dropout: float) -> Batch:
        """Batch `step` of an endless shuffled walk; a pure function of its arguments."""
        per_epoch = len(self) // size
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        rows = torch.from_numpy(order[place * size : (place + 1) * size])
        txt, pooled = self.scenes.txt[rows].float(), self.scenes.pooled[rows].float()
        lost = np.random.default_rng([seed, step, 1]).random(size) < caption_dropout
        txt[lost], pooled[lost] = self.empty.txt.float(), self.empty.pooled.float()
        return Batch(self.scenes.tokens[rows].float(), txt, pooled)


def latent_statistics(
    autoencoder: Autoencoder, sprites: Sprites, picture_size: int, seed: int, count: int = 256
) -> tuple[float, float]:
    """(shift, scale) that bring the mean latents of fresh scenes to zero mean and unit variance."""
    rng = np.random.default_rng([seed, 2])
    pictures = np.stack(
        [render(sample_scene(rng), sprites, picture_size, rng) for _ in range(count)]
    )
    device = autoencoder.encoder.conv_in.weight.device
    with torch.no_grad():
        mean, _ = autoencoder.posterior(to_pixels(pictures).to(device))
    return mean.mean().item(), 1 / mean.std().item()


def encoded_scenes(
    autoencoder: Autoencoder,
    text: TextEncoder,
    sprites: Sprites,
    picture_size: int,
    count: int,
    seed: int,
) -> Iterator[Batch]:
    """Compose and encode `count` scenes, a chunk at a time, in half precision."""
    device = autoencoder.encoder.conv_in.weight.device
    for chunk in range(-(-count // CHUNK)):
        rng = np.random.default_rng([seed, chunk])
        size = min(CHUNK, count - chunk * CHUNK)
        scenes = [sample_scene(rng) for _ in range(size)]
        pictures = np.stack([render(scene, sprites, picture_size, rng) for scene in scenes])
        with torch.no_grad():
            pixels = to_pixels(pictures).to(device, memory_format=torch.channels_last)
            tokens = torch.cat([pack(autoencoder.encode(part)) for part in pixels.split(32)])
        words = text([caption(scene, rng) for scene in scenes])
        yield Batch(
            tokens.half().cpu(),
            torch.stack([c.txt for c in words]).half().cpu(),
            torch.stack([c.pooled for c in words]).half().cpu(),
        )


def prepare_cache(
    path: Path,
    autoencoder: Autoencoder,
    text: TextEncoder,
    sprites: Sprites,
    picture_size: int,
    count: int,
    seed: int,
    progress: Progress,
) -> None:
    """Write `count` encoded scenes to one safetensors file."""
    task = progress.add_task("encoding scenes", total=count)
    chunks = []
    for chunk in encoded_scenes(autoencoder, text, sprites, picture_size, count, seed):
        chunks.append(chunk)
        progress.advance(task, len(chunk.tokens))
    (nothing,) = text([""])
    write_tensors(
        path,
        {
            "tokens": torch.cat([c.tokens for c in chunks]),
            "txt": torch.cat([c.txt for c in chunks]),
            "pooled": torch.cat([c.pooled for c in chunks]),
            "empty_txt": nothing.txt.half().cpu(),
            "empty_pooled": nothing.pooled.half().cpu(),
        },
    )
