"""The protocol through which the loop uses an objective."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class ParameterGroups:
    """Two groups of parameters: Muon moves the matrices, AdamW the others."""

    matrices: list[nn.Parameter]
    others: list[nn.Parameter]


@runtime_checkable
class Objective(Protocol[Network]):
    """One thing to learn: the network, its loss, and a picture of how far it is."""

    @property
    def model(self) -> Network: ...

    @property
    def unit(self) -> str:
        """The noun for what a batch has `batch_size` of: "images", "captions"."""
        ...

    def batch(self, step: int) -> Any:
        """The inputs of a step; a pure function, so that a resumed run sees the same."""
        ...

    def loss(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Scalar loss and named figures for the log. All randomness comes from `generator`."""
        ...

    def groups(self) -> ParameterGroups: ...

    def preview(self, model: Network) -> Image.Image | None:
        """A sheet of pictures drawn with `model` (the averaged weights); None to draw none."""
        ...


def sheet(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures of one size side by side, row by row."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    canvas = Image.new("RGB", (min(columns, len(pictures)) * width, rows * height), "white")
    for i, picture in enumerate(pictures):
        canvas.paste(picture, (i % columns * width, i // columns * height))
    return canvas


def to_pixels(pictures: np.ndarray) -> Float[Tensor, "b 3 H W"]:
    """uint8 pictures (b, H, W, 3) to floats in [-1, 1]."""
    return rearrange(torch.from_numpy(pictures).float() / 127.5 - 1, "b h w c -> b c h w")
