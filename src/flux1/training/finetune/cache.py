"""A cache on disk of encoded pictures and captions: a run that needs it again reads it.

A file's name is a hash of all that its content depends on: the model, the picture's own bytes and
the size that it is brought to, or the caption. So a changed picture or caption is encoded anew, and
runs may share a cache.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from flux1.errors import Flux1Error
from flux1.model.autoencoder import Autoencoder
from flux1.model.patches import pack
from flux1.pipeline.encode import Conditioning, TextEncoder
from flux1.training.finetune.dataset import Example
from flux1.training.finetune.pictures import decode_rgb
from flux1.training.finetune.sizes import fitted
from flux1.training.objective import to_pixels
from flux1.weights.files.safetensors import FileTensors, write_tensors


@dataclass(frozen=True)
class Cache:
    """Latents and text features of one model."""

    folder: Path
    model_hash: str

    def latents_file(self, sha256: str, size: tuple[int, int]) -> Path:
        return self._file("latents", f"{sha256} {size[0]}x{size[1]}")

    def text_file(self, caption: str) -> Path:
        return self._file("text", caption)

    def has_latents(self, sha256: str, size: tuple[int, int]) -> bool:
        return _whole(self.latents_file(sha256, size))

    def has_text(self, caption: str) -> bool:
        return _whole(self.text_file(caption))

    def _file(self, kind: str, what: str) -> Path:
        key = hashlib.sha256(f"{kind}\n{self.model_hash}\n{what}".encode()).hexdigest()
        return self.folder / kind / f"{key[:32]}.safetensors"


def read_tokens(file: Path) -> Float[Tensor, "image c"]:
    return FileTensors(file)["tokens"]


@torch.no_grad()
def encode_picture(
    cache: Cache, autoencoder: Autoencoder, example: Example, size: tuple[int, int]
) -> bool:
    """Write a picture's latents at a size (width, height): the mean of the posterior, in half
    precision. False, and nothing is written, if they are not finite. DataError if the picture is
    damaged; OutputError if the place cannot be written."""
    picture = fitted(decode_rgb(example.read()), size)
    weight = autoencoder.encoder.conv_in.weight
    pixels = to_pixels(np.array(picture)[None]).to(weight.device, weight.dtype)
    tokens = pack(autoencoder.encode(pixels))[0].half().cpu()
    if not torch.isfinite(tokens).all():
        return False
    write_tensors(cache.latents_file(example.sha256, size), {"tokens": tokens})
    return True


def encode_captions(cache: Cache, text: TextEncoder, captions: Sequence[str]) -> None:
    """Write what the text encoder says of each caption, in its own precision; and what it dropped
    of it, for lack of room."""
    for caption, found in zip(captions, text(captions), strict=True):
        # each a tensor of its own: rows of one batch share their memory
        tensors = {"txt": found.txt.cpu().clone(), "pooled": found.pooled.cpu().clone()}
        write_tensors(cache.text_file(caption), tensors, {"dropped": found.dropped})


@dataclass(frozen=True)
class RememberedText:
    """A text encoder that has read everything that it will be asked: it needs no networks.

    KeyError for a prompt that is not in the cache.
    """

    cache: Cache

    def __call__(self, prompts: Sequence[str], at_least: int | None = None) -> list[Conditioning]:
        if at_least is not None:
            raise ValueError(f"at_least {at_least}: what is remembered has one length")
        return [self._read(prompt) for prompt in prompts]

    @property
    def networks(self) -> Sequence[nn.Module]:
        """None: what they gave is in the cache."""
        return ()

    def count(self, prompt: str) -> int:
        return len(self._read(prompt).txt)

    def _read(self, prompt: str) -> Conditioning:
        file = self.cache.text_file(prompt)
        if not file.exists():
            raise KeyError(f"not encoded: {prompt!r}")
        tensors = FileTensors(file)
        return Conditioning(tensors["txt"], tensors["pooled"], tensors.metadata["dropped"])


def _whole(file: Path) -> bool:
    """Return whether a file is there and can be read; a damaged one is written again."""
    with suppress(Flux1Error, OSError):
        return bool(len(FileTensors(file)))
    return False
