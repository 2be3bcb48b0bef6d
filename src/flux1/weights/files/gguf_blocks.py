"""The usual block types of GGUF, decoded in torch: on any device, and ten times as fast as the
`gguf` library's own decoders, to whose bits they are equal. The other types are left to it.

A block is a few hundred bytes at most: one or two scales in fp16, in the K types packed scales of
its sixteenths or eighths, and the numbers' codes, low and high bits apart.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

Blocks = UInt8[Tensor, "n bytes"]
Numbers = Float[Tensor, "n numbers"]

_NIBBLES = (0, 4)
_PAIRS = (0, 2, 4, 6)
_BITS = tuple(range(8))


def _halves(blocks: Blocks, *places: int) -> list[Float[Tensor, "n 1"]]:
    """The fp16 numbers at these bytes of each block."""
    return [blocks[:, at : at + 2].contiguous().view(torch.float16).float() for at in places]


def _cut(codes: Blocks, width: int, shifts: Sequence[int], mask: int) -> UInt8[Tensor, "n w"]:
    """The bits of each byte at these shifts: of every `width` bytes, first all at the first."""
    lines = codes.reshape(len(codes), -1, width)
    return torch.stack([(lines >> shift) & mask for shift in shifts], dim=2).flatten(1)


def _bits(flags: Blocks) -> UInt8[Tensor, "n bits"]:
    """The bits of each byte, the lowest first."""
    return torch.stack([(flags >> shift) & 1 for shift in _BITS], dim=2).flatten(1)


def _scaled(
    codes: Tensor, scales: Float[Tensor, "n parts"], minima: Float[Tensor, "n parts"] | None = None
) -> Numbers:
    """Each part of a block times its scale, less its minimum."""
    parts = codes.float().reshape(*scales.shape, -1).mul_(scales[:, :, None])
    if minima is not None:
        parts = parts.sub_(minima[:, :, None])
    return parts.flatten(1)


def _q4_0(blocks: Blocks) -> Numbers:
    return _scaled(_cut(blocks[:, 2:], 16, _NIBBLES, 15).float().sub_(8), *_halves(blocks, 0))


def _q4_1(blocks: Blocks) -> Numbers:
    scale, least = _halves(blocks, 0, 2)
    return _scaled(_cut(blocks[:, 4:], 16, _NIBBLES, 15), scale, -least)


def _q5_0(blocks: Blocks) -> Numbers:
    codes = _cut(blocks[:, 6:], 16, _NIBBLES, 15) | (_bits(blocks[:, 2:6]) << 4)
    return _scaled(codes.float().sub_(16), *_halves(blocks, 0))


def _q5_1(blocks: Blocks) -> Numbers:
    codes = _cut(blocks[:, 8:], 16, _NIBBLES, 15) | (_bits(blocks[:, 4:8]) << 4)
    scale, least = _halves(blocks, 0, 2)
    return _scaled(codes, scale, -least)


def _q8_0(blocks: Blocks) -> Numbers:
    return _scaled(blocks[:, 2:].view(torch.int8), *_halves(blocks, 0))


def _q2_k(blocks: Blocks) -> Numbers:
    scale, least = _halves(blocks, 80, 82)
    packed = blocks[:, :16]
    codes = _cut(blocks[:, 16:80], 32, _PAIRS, 3)
    return _scaled(codes, scale * (packed & 15).float(), least * (packed >> 4).float())


def _q3_k(blocks: Blocks) -> Numbers:
    (scale,) = _halves(blocks, 108)
    low = _cut(blocks[:, 96:104], 8, _NIBBLES, 15)
    high = _cut(blocks[:, 104:108], 4, _PAIRS, 3)
    scales = (low | (high << 4)).float().sub_(32)
    codes = _cut(blocks[:, 32:96], 32, _PAIRS, 3) | (_cut(blocks[:, :32], 32, _BITS, 1) << 2)
    return _scaled(codes.float().sub_(4), scale * scales)


def _scales_of_eighths(blocks: Blocks) -> tuple[Float[Tensor, "n 8"], Float[Tensor, "n 8"]]:
    """The scales and minima of Q4_K and Q5_K, six bits each, in bytes 4 to 16."""
    scale, least = _halves(blocks, 0, 2)
    first, second, rest = (blocks[:, at : at + 4] for at in (4, 8, 12))
    scales = torch.cat([first & 63, (rest & 15) | ((first >> 2) & 48)], dim=1)
    minima = torch.cat([second & 63, (rest >> 4) | ((second >> 2) & 48)], dim=1)
    return scale * scales.float(), least * minima.float()


def _q4_k(blocks: Blocks) -> Numbers:
    return _scaled(_cut(blocks[:, 16:], 32, _NIBBLES, 15), *_scales_of_eighths(blocks))


def _q5_k(blocks: Blocks) -> Numbers:
    high = _cut(blocks[:, 16:48], 32, _BITS, 1)
    codes = _cut(blocks[:, 48:], 32, _NIBBLES, 15) | (high << 4)
    return _scaled(codes, *_scales_of_eighths(blocks))


def _q6_k(blocks: Blocks) -> Numbers:
    (scale,) = _halves(blocks, 208)
    high = _cut(blocks[:, 128:192], 32, _PAIRS, 3)
    codes = _cut(blocks[:, :128], 64, _NIBBLES, 15) | (high << 4)
    return _scaled(codes.float().sub_(32), scale * blocks[:, 192:208].view(torch.int8).float())


DECODERS: dict[str, Callable[[Blocks], Numbers]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
