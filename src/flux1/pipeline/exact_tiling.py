"""The autoencoder's decoder in little memory: the same picture, computed a strip of rows at a time.

The usual way, tiles that are decoded alone and blended, draws another picture: a group norm takes
its mean and variance over all positions, so a tile that does not see the rest is normalised
otherwise, and blending hides only the edges of that. Nothing is approximated here. A convolution's
strip reads a row more above and below, a norm's statistics are gathered over all strips before the
first is normalised, and the coarsest level, with its attention, is small and done whole.

What must be kept are two feature maps of a level and the one before it, where a whole decode keeps
up to ten, copies counted: of FLUX.1 320 numbers a pixel, not 1216. The price is time: what an
upsampling gives is computed twice, the first time for its statistics only, and rows at the edges of
strips too; FLUX.1's decode becomes a third more work. Beside a whole decode it is equal up to the
order of sums: in fp32 to 1e-5, so that of a picture's values one in 10^5 differs, by one level of
255. (Of flux-mini's autoencoder at 256x256, decoded in two tiles with an overlap, one in five does,
and of a random one of FLUX.1's shape most, by up to ten levels.)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from flux1.model.autoencoder import Autoencoder, ResnetBlock

STRIP = 2**23  # numbers: a strip's scratch grows with it, the share of rows read twice shrinks

Rows = Float[Tensor, "1 c rows w"]


@dataclass(frozen=True)
class Map:
    """A feature map. `rows(a, b)` gives its rows from a to b: a part of `tensor` if that is there,
    else computed anew each time."""

    height: int
    width: int
    rows: Callable[[int, int], Rows]
    tensor: Rows | None = None

    def strips(self, channels: int) -> Iterator[tuple[int, int]]:
        """Bounds of strips that cover all rows, for work on so many channels."""
        step = strip_rows(channels, self.width)
        return pairwise([*range(0, self.height, step), self.height])

    def around(self, start: int, stop: int) -> tuple[Rows, slice]:
        """Rows of a strip with those that its convolution reads too, and where its own are."""
        low, high = max(0, start - 1), min(self.height, stop + 1)
        return self.rows(low, high), slice(start - low, stop - low)


def strip_rows(channels: int, width: int) -> int:
    """Return how many rows a strip has."""
    return max(1, STRIP // (channels * width))


@torch.no_grad()
def decode_tiled(autoencoder: Autoencoder, z: Float[Tensor, "1 z h w"]) -> Float[Tensor, "1 3 H W"]:
    """The pixels that `autoencoder.decode(z)` gives of one picture, in less memory."""
    decoder, config = autoencoder.decoder, autoencoder.config
    now = _held(decoder.mid(decoder.conv_in(z / config.scale_factor + config.shift_factor)))
    levels: list[Any] = list(decoder.up)
    for level in reversed(levels):
        for block in level.block:
            now = _residual(block, now)
        if hasattr(level, "upsample"):
            now = _convolved(level.upsample.conv, _doubled(now))
    last = _convolved(decoder.conv_out, now, _activation(decoder.norm_out, now))
    picture = z.new_empty(1, config.in_channels, last.height, last.width)
    for start, stop in last.strips(decoder.conv_out.in_channels):
        picture[:, :, start:stop] = last.rows(start, stop)
    return picture


def _residual(block: ResnetBlock, x: Map) -> Map:
    """A residual block's result: in the memory of `x`, if that is held and added to as it is."""
    activate = _activation(block.norm1, x)
    shortcut = getattr(block, "nin_shortcut", None)
    inner = block.conv1.weight.new_empty(1, block.conv1.out_channels, x.height, x.width)
    total = x.tensor if x.tensor is not None and shortcut is None else torch.empty_like(inner)
    for start, stop in x.strips(block.conv1.in_channels):
        seen, own = x.around(start, stop)
        inner[:, :, start:stop] = block.conv1(activate(seen))[:, :, own]
        if total is not x.tensor:
            passed = seen[:, :, own]
            total[:, :, start:stop] = passed if shortcut is None else shortcut(passed)
    kept = _held(inner)
    change = _convolved(block.conv2, kept, _activation(block.norm2, kept))
    for start, stop in change.strips(block.conv2.in_channels):
        total[:, :, start:stop] += change.rows(start, stop)
    return _held(total)


def _held(tensor: Rows) -> Map:
    height, width = tensor.shape[2:]
    return Map(height, width, lambda start, stop: tensor[:, :, start:stop], tensor)


def _doubled(x: Map) -> Map:
    """Every position four times, as the decoder's upsampling has it."""

    def rows(start: int, stop: int) -> Rows:
        first = start // 2
        twice = F.interpolate(x.rows(first, (stop + 1) // 2), scale_factor=2.0, mode="nearest")
        return twice[:, :, start - 2 * first : stop - 2 * first]

    return Map(2 * x.height, 2 * x.width, rows)


def _convolved(conv: nn.Conv2d, x: Map, before: Callable[[Rows], Rows] | None = None) -> Map:
    """A 3x3 convolution of `x`, after `before`, which looks at each position alone."""

    def rows(start: int, stop: int) -> Rows:
        seen, own = x.around(start, stop)
        return conv(seen if before is None else before(seen))[:, :, own]

    return Map(x.height, x.width, rows)


def _activation(norm: nn.GroupNorm, x: Map) -> Callable[[Rows], Rows]:
    """SiLU of the norm, by the mean and variance of all of `x`: the strips' own are joined as Chan,
    Golub and LeVeque (1979) do, which loses no digits."""
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())  # squares: of what lies off the mean
    for start, stop in x.strips(norm.num_channels):
        group = x.rows(start, stop).float().reshape(norm.num_groups, -1)
        own, variance = (m.double() for m in torch.var_mean(group, dim=1, correction=0)[::-1])
        mean, squares = mean.to(own), squares.to(own)
        size, off = group.shape[1], own - mean
        squares = squares + variance * size + off**2 * (count * size / (count + size))
        mean = mean + off * (size / (count + size))
        count += size
    scale = (squares / count + norm.eps).rsqrt()
    each = norm.num_channels // norm.num_groups
    gain = norm.weight.double() * scale.repeat_interleave(each)
    offset = norm.bias.double() - gain * mean.repeat_interleave(each)
    gain, offset = (one.float()[:, None, None] for one in (gain, offset))

    def activate(rows: Rows) -> Rows:
        return F.silu(torch.addcmul(offset, rows.float(), gain).to(rows.dtype))

    return activate
