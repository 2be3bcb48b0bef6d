"""The tensors of torchao's (and diffusers') safetensors files: int8 and float8 weights.

`M.weight` becomes `M._weight_qdata` and `M._weight_scale` (and `_weight_zero_point`); the file's
metadata holds, under the tensor's name, JSON with its class. The weight is (qdata - zero point) *
scale, a scale for each block of numbers. Classes packed for one card's kernels are refused.
"""

import json
from functools import partial

from jaxtyping import Float
from torch import Tensor

from flux1.errors import WeightsError
from flux1.weights.files.lazy import EVERY, Rows, RowsOf, StoredTensors, derived, numbers_of

NAME = "torchao"
INDEX = "tensor_names"  # the metadata key that torchao writes
CLASSES = ("Int8Tensor", "IntxUnpackedToInt8Tensor", "Float8Tensor")
PARTS = ("qdata", "scale", "zero_point")
UNUSED = ("act_quant_scale", "act_quant_zero_point")  # for arithmetic in eight bits


def recognise(state: StoredTensors) -> bool:
    """Return whether the metadata lists tensors, and one is taken apart."""
    return INDEX in state.metadata and any(name.endswith("_qdata") for name in state.stored)


def plain(state: StoredTensors) -> StoredTensors:
    """The weights, in float32, each put together when asked for. WeightsError for classes other
    than CLASSES, and parts that do not fit each other."""
    found = dict(state.stored)
    for name in [name for name in found if name.endswith("_qdata")]:
        module, _, last = name.removesuffix("_qdata").rpartition("._")
        weight = f"{module}.{last}"
        kind = _class(state.metadata, weight)
        parts = {
            part: found.pop(f"{module}._{last}_{part}")
            for part in (*PARTS, *UNUSED)
            if f"{module}._{last}_{part}" in found
        }
        if kind not in CLASSES:
            raise WeightsError(f"{weight}: torchao's {kind} is not read; {', '.join(CLASSES)} are")
        numbers, scale, zero = (parts.get(part) for part in PARTS)
        if numbers is None or scale is None or not _fits(scale.shape, numbers.shape):
            raise WeightsError(f"{weight}: its scale is missing or of another shape")
        if zero is not None and not _fits(zero.shape, numbers.shape):
            raise WeightsError(f"{weight}: its zero point is of another shape")
        of = [numbers, scale] if zero is None else [numbers, scale, zero]
        found[weight] = derived(numbers.dtype, numbers.shape, of, partial(_joined, numbers.shape))
    return StoredTensors(found, state.metadata)


def _class(metadata: dict[str, str], name: str) -> str:
    """The metadata's name of the tensor's class; it may be told under a longer name, where the
    network is one part of a file."""
    keys = [key for key in metadata if key == name or key.endswith(f".{name}")]
    try:
        return str(json.loads(metadata[min(keys, key=len)])["_type"])
    except (ValueError, LookupError, TypeError, RecursionError) as failure:
        raise WeightsError(f"{name}: its torchao metadata is missing or damaged") from failure


def _fits(scale: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Return whether scales of this shape divide a tensor of that shape into blocks."""
    if scale in ((), (1,), shape[:1]):
        return True
    return len(scale) == len(shape) and all(
        part and side % part == 0 for part, side in zip(scale, shape, strict=True)
    )


def _joined(
    shape: tuple[int, ...], rows: Rows, numbers: RowsOf, scale: RowsOf, zero: RowsOf | None = None
) -> Float[Tensor, "rows ..."]:
    values = numbers(rows).float()
    if zero is not None:
        values = values - _spread(zero(EVERY), shape, rows)
    return values * _spread(scale(EVERY), shape, rows)


def _spread(
    part: Float[Tensor, "..."], shape: tuple[int, ...], rows: Rows
) -> Float[Tensor, "rows ..."]:
    """A value of each block, repeated over the block's numbers in these rows."""
    values = part.float()
    if values.ndim < len(shape):
        values = values.reshape(-1, *[1] * (len(shape) - 1))
    if shape and values.shape[0] > 1:
        each = shape[0] // values.shape[0]
        values = values[numbers_of(rows, shape[0], values.device) // each]
    for axis, side in enumerate(shape[1:], start=1):
        if values.shape[axis] not in (1, side):
            values = values.repeat_interleave(side // values.shape[axis], dim=axis)
    return values
