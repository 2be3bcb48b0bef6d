"""The compact upscaler of Real-ESRGAN (Wang et al., 2021; there "SRVGGNetCompact").

Convolutions at the small picture's size, a PReLU after each, then one that gives scale x scale
pixels for each pixel. What it computes is the difference from the picture with its pixels repeated.
"""

from collections.abc import Iterator

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from flux1.model.config import UpscalerConfig

COLOURS = 3


class Upscaler(nn.Module):
    """RGB in [0, 1] to RGB of `scale` times the sides, which may lie a little outside [0, 1].

    The tensors are named as in the original's files (`body.0.weight`, ...).
    """

    def __init__(self, config: UpscalerConfig) -> None:
        super().__init__()
        self.config = config
        self.body = nn.Sequential(*_layers(config))

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 H W"]:
        scale = self.config.scale
        repeated = F.interpolate(x, scale_factor=float(scale), mode="nearest")
        return F.pixel_shuffle(self.body(x), scale) + repeated


def _layers(config: UpscalerConfig) -> Iterator[nn.Module]:
    inputs = COLOURS
    for _ in range(config.convolutions + 1):
        yield nn.Conv2d(inputs, config.channels, 3, padding=1)
        yield nn.PReLU(config.channels)
        inputs = config.channels
    yield nn.Conv2d(inputs, COLOURS * config.scale**2, 3, padding=1)
