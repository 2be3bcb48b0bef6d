"""NF4 and FP4, four bits a number, as bitsandbytes packs them; decoded in plain torch.

Numbers are taken in blocks of `blocksize`; each is a code, an index into the sixteen values of
`X.quant_map`, times its block's `X.absmax`. Two codes share a byte, the first one in the high bits.
`X.quant_state.bitsandbytes__nf4` (or `fp4`) holds JSON, as bytes: shape, blocksize, dtype. Where
the scales are packed too, `X.absmax` holds bytes: indices into `X.nested_quant_map`, times
`X.nested_absmax` of their block of `nested_blocksize`, plus `nested_offset`.
"""

import json
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from flux1.errors import WeightsError
from flux1.weights.lazy import Stored, StoredTensors

NAME = "bitsandbytes 4-bit"
STATE = ".quant_state.bitsandbytes__"
PARTS = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map")
MAX_STATE = 65_536  # bytes of JSON
CODES = 16


BLOCK = 64  # numbers that share a scale, in what is written here
VALUES = (  # of NF4: the quantiles of a normal distribution, as bitsandbytes has them
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip


def recognise(state: StoredTensors) -> bool:
    """Whether the description of a packed tensor is there."""
    return any(STATE in name for name in state.stored)


def plain(state: StoredTensors) -> StoredTensors:
    """Packed tensors to float32, each decoded when asked for.

    Reads the descriptions, a hundred bytes each. WeightsError if one does not fit its tensor.
    """
    found = dict(state.stored)
    for marker in [name for name in found if STATE in name]:
        name, kind = marker.split(STATE, 1)
        parts = {part: found.pop(name + part) for part in PARTS if name + part in found}
        described = found.pop(marker)
        try:
            packed = _packed(_json(described), found[name], parts)
        except (KeyError, TypeError, ValueError, OverflowError) as failure:
            raise WeightsError(f"{name}: is not packed as bitsandbytes does it") from failure
        size = described.size + found[name].size + sum(part.size for part in parts.values())
        found[name] = Stored(kind.upper(), packed.shape, size, partial(_decoded, packed))
    return StoredTensors(found, state.metadata)


def pack(
    numbers: Float[Tensor, " n"],
) -> tuple[UInt8[Tensor, " bytes"], Float[Tensor, " blocks"]]:
    """(two codes a byte, the blocks' scales) of an even count of numbers in blocks of 64."""
    blocks = F.pad(numbers.float(), (0, -numbers.numel() % BLOCK)).reshape(-1, BLOCK)
    scales = blocks.abs().amax(dim=1)
    values = torch.tensor(VALUES)
    between = (values[1:] + values[:-1]) / 2
    unit = blocks / scales.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    codes = torch.bucketize(unit, between, out_int32=True).to(torch.uint8)
    pairs = codes.flatten()[: numbers.numel()].reshape(-1, 2)
    return (pairs[:, 0] << 4) | pairs[:, 1], scales


def description(shape: tuple[int, ...]) -> UInt8[Tensor, " bytes"]:
    """What `X.quant_state.bitsandbytes__nf4` holds."""
    told = {"quant_type": "nf4", "blocksize": BLOCK, "dtype": "bfloat16", "shape": list(shape)}
    return torch.tensor(list(json.dumps(told).encode()), dtype=torch.uint8)


@dataclass(frozen=True)
class _Packed:
    """A packed tensor, checked: the parts have the sizes that the shape asks for."""

    shape: tuple[int, ...]
    block: int
    codes: Stored
    values: Stored
    scales: Stored
    nested_block: int
    nested_values: Stored | None
    nested_scales: Stored | None
    nested_offset: float


def _packed(told: dict[str, Any], codes: Stored, parts: dict[str, Stored]) -> _Packed:
    shape = tuple(int(side) for side in told["shape"])
    block, count = int(told["blocksize"]), math.prod(shape)
    if min((*shape, block)) < 1:
        raise ValueError("an empty shape or block")
    blocks = -(-count // block)
    scales, values = parts[".absmax"], parts[".quant_map"]
    nested = ".nested_absmax" in parts
    nested_block = int(told["nested_blocksize"]) if nested else 1
    fits = (
        (codes.dtype == "U8" and math.prod(codes.shape) == -(-count // 2))
        and math.prod(values.shape) == CODES
        and math.prod(scales.shape) == blocks
        and nested == (scales.dtype == "U8")
    )
    if nested and fits:
        fits = nested_block > 0 and math.prod(parts[".nested_absmax"].shape) == -(
            -blocks // nested_block
        )
        fits = fits and math.prod(parts[".nested_quant_map"].shape) == 256
    if not fits:
        raise ValueError("parts of other sizes than the shape asks for")
    return _Packed(
        shape, block, codes, values, scales, nested_block,
        parts.get(".nested_quant_map"), parts.get(".nested_absmax"),
        float(told["nested_offset"]) if nested else 0.0,
    )  # fmt: skip


def _json(described: Stored) -> dict[str, Any]:
    if described.dtype != "U8" or described.size > MAX_STATE:
        raise ValueError("not a description")
    told = json.loads(bytes(described.read().flatten().tolist()))
    if not isinstance(told, dict):
        raise ValueError("not a description")
    return told


def _decoded(packed: _Packed) -> Float[Tensor, "..."]:
    codes: UInt8[Tensor, " bytes"] = packed.codes.read().flatten()
    pairs: Int[Tensor, "bytes 2"] = torch.stack((codes >> 4, codes & 15), dim=1).int()
    numbers = packed.values.read().float().flatten()[pairs].flatten()
    numbers = numbers[: math.prod(packed.shape)]
    return _times_blocks(numbers, _scales(packed), packed.block).reshape(packed.shape)


def _scales(packed: _Packed) -> Float[Tensor, " blocks"]:
    scales = packed.scales.read().flatten()
    if packed.nested_values is None or packed.nested_scales is None:
        return scales.float()
    numbers = packed.nested_values.read().float().flatten()[scales.int()]
    outer = packed.nested_scales.read().float().flatten()
    return _times_blocks(numbers, outer, packed.nested_block) + packed.nested_offset


def _times_blocks(
    numbers: Float[Tensor, " n"], scales: Float[Tensor, " blocks"], block: int
) -> Float[Tensor, " n"]:
    """Each block of numbers times its scale; the last block may be short."""
    whole = numbers.numel() // block * block
    head = numbers[:whole].reshape(-1, block) * scales[: whole // block, None]
    return torch.cat([head.flatten(), numbers[whole:] * scales[whole // block :]])
