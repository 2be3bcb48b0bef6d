"""NF4 and FP4, four bits a number, as bitsandbytes packs them; decoded in plain torch.

Numbers are taken in blocks of `blocksize`; each is a code, an index into the sixteen values of
`X.quant_map`, times its block's `X.absmax`. Two codes share a byte, the first one in the high bits.
`X.quant_state.bitsandbytes__nf4` (or `fp4`) holds JSON, as bytes: shape, blocksize, dtype. Where
the scales are packed too, `X.absmax` holds bytes: indices into `X.nested_quant_map`, times
`X.nested_absmax` of their block of `nested_blocksize`, plus `nested_offset`.
"""

import json
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from flux1.errors import WeightsError
from flux1.weights.files.lazy import EVERY, Rows, RowsOf, Stored, StoredTensors, derived, numbers_of

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
    """Return whether the description of a packed tensor is there."""
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
            packed = _packed(_json(described), kind, found[name], parts)
        except (KeyError, TypeError, ValueError, OverflowError) as failure:
            raise WeightsError(f"{name}: is not packed as bitsandbytes does it") from failure
        found[name] = replace(packed, size=packed.size + described.size)
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
    """The contents of `X.quant_state.bitsandbytes__nf4`."""
    quant_state = {
        "quant_type": "nf4",
        "blocksize": BLOCK,
        "dtype": "bfloat16",
        "shape": list(shape),
    }
    return torch.tensor(list(json.dumps(quant_state).encode()), dtype=torch.uint8)


@dataclass(frozen=True)
class _Layout:
    """The layout of a packed tensor's numbers in its parts."""

    shape: tuple[int, ...]
    block: int
    nested_block: int
    nested_offset: float

    def decode(self, rows: Rows, *parts: RowsOf) -> Float[Tensor, "rows ..."]:
        """Some rows, in fp32. Where a row is not whole blocks and bytes, all are decoded for it."""
        if math.prod(self.shape[1:]) % math.lcm(self.block, 2):
            return self._lines(1, EVERY, *parts).reshape(self.shape)[rows]
        return self._lines(self.shape[0], rows, *parts).reshape(-1, *self.shape[1:])

    def _lines(
        self, count: int, rows: Rows, codes: RowsOf, values: RowsOf, scales: RowsOf, *nested: RowsOf
    ) -> Float[Tensor, " n"]:
        """Some of the `count` lines that the codes are cut into."""
        packed: UInt8[Tensor, " bytes"] = codes(EVERY).reshape(count, -1)[rows].flatten()
        pairs = _pairs(values(EVERY).float().flatten())
        numbers = pairs.index_select(0, packed.int()).view(torch.float32)[: math.prod(self.shape)]
        blocks = scales(EVERY).reshape(count, -1)
        factors = blocks[rows].flatten()
        if nested:
            inner, outer = (part(EVERY).float().flatten() for part in nested)
            each = blocks.shape[1]
            lines = numbers_of(rows, count, blocks.device)[:, None] * each
            places = lines + torch.arange(each, device=blocks.device)
            factors = inner[factors.int()] * outer[places.flatten() // self.nested_block]
            factors = factors + self.nested_offset
        return _times_blocks(numbers, factors.float(), self.block)


def _packed(
    quant_state: dict[str, Any], kind: str, codes: Stored, parts: dict[str, Stored]
) -> Stored:
    """The tensor, if its parts have the sizes that its shape asks for."""
    shape = tuple(int(side) for side in quant_state["shape"])
    block, count = int(quant_state["blocksize"]), math.prod(shape)
    if min((*shape, block)) < 1:
        raise ValueError("an empty shape or block")
    blocks = -(-count // block)
    scales, values = parts[".absmax"], parts[".quant_map"]
    of = [codes, values, scales]
    nested = ".nested_absmax" in parts
    nested_block = int(quant_state["nested_blocksize"]) if nested else 1
    fits = (
        (codes.dtype == "U8" and math.prod(codes.shape) == -(-count // 2))
        and math.prod(values.shape) == CODES
        and math.prod(scales.shape) == blocks
        and nested == (scales.dtype == "U8")
    )
    if nested and fits:
        inner, outer = parts[".nested_quant_map"], parts[".nested_absmax"]
        fits = nested_block > 0 and math.prod(outer.shape) == -(-blocks // nested_block)
        fits = fits and math.prod(inner.shape) == 256
        of += [inner, outer]
    if not fits:
        raise ValueError("parts of other sizes than the shape asks for")
    offset = float(quant_state["nested_offset"]) if nested else 0.0
    return derived(kind.upper(), shape, of, _Layout(shape, block, nested_block, offset).decode)


def _json(described: Stored) -> dict[str, Any]:
    if described.dtype != "U8" or described.size > MAX_STATE:
        raise ValueError("not a description")
    quant_state = json.loads(bytes(described.read().flatten().tolist()))
    if not isinstance(quant_state, dict):
        raise ValueError("not a description")
    return quant_state


def _pairs(values: Float[Tensor, "16"]) -> Int[Tensor, "256"]:
    """The two numbers of each byte, side by side: as one of 64 bits, they are looked up at once."""
    byte = torch.arange(256, device=values.device)
    return torch.stack((values[byte >> 4], values[byte & 15]), dim=1).view(torch.int64).flatten()


def _times_blocks(
    numbers: Float[Tensor, " n"], scales: Float[Tensor, " blocks"], block: int
) -> Float[Tensor, " n"]:
    """Each block of numbers times its scale; the last block may be short."""
    whole = numbers.numel() // block * block
    head = (numbers[:whole].reshape(-1, block) * scales[: whole // block, None]).flatten()
    if whole == numbers.numel():
        return head
    return torch.cat([head, numbers[whole:] * scales[whole // block :]])
