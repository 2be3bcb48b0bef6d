"""Int8 storage with one fp32 scale per row: a quarter of the bytes of fp32.

A row is one output of a linear layer, of a convolution, or one entry of an embedding. `X` becomes
`X` (int8, same shape) and `X.row_scale` (fp32, one per row): w is about q * scale, where scale is
the row's largest magnitude / 127. Rounding to the nearest makes an error of at most scale / 2, that
is max|row| / 254, plus fp32 rounding. Vectors (biases, norms) stay, in fp32.

Read, not written: the int8 of bitsandbytes, `X.weight` with `X.SCB`, where scale is SCB / 127.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from flux1.errors import WeightsError
from flux1.weights.files.lazy import Rows, Stored, StoredTensors

NAME = "int8 rows"
CODED = "INT8"  # such a tensor's word
METADATA = {"quantization": "int8-rows"}
SCALE_SUFFIX = ".row_scale"
BITSANDBYTES = (".SCB", ".weight_format")
LARGEST = 127


def quantize_rows(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels to int8 rows and their scales; all else to fp32.

    WeightsError if a matrix holds a number that is not finite.
    """
    quantized = {}
    for name, tensor in state.items():
        if tensor.ndim < 2:
            quantized[name] = tensor.float()
            continue
        rows = tensor.float().flatten(1)
        if not rows.isfinite().all():
            raise WeightsError(f"{name}: holds numbers that are not finite, cannot quantise it")
        scale = rows.abs().amax(dim=1) / LARGEST
        steps = rows / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
        quantized[name] = (
            steps.round().clamp(-LARGEST, LARGEST).to(torch.int8).reshape(tensor.shape)
        )
        quantized[name + SCALE_SUFFIX] = scale
    return quantized


def recognise(state: StoredTensors) -> bool:
    """Return whether scales of rows lie beside some of the tensors."""
    return any(name.endswith((SCALE_SUFFIX, *BITSANDBYTES)) for name in state.stored)


def plain(state: StoredTensors) -> StoredTensors:
    """Undo `quantize_rows`, or bitsandbytes': fp32 tensors, each computed when asked for.

    WeightsError if a scale has no tensor or does not fit it.
    """
    found: dict[str, Stored] = {}
    scales: dict[str, tuple[str, float]] = {}
    for name, tensor in state.stored.items():
        if name.endswith(SCALE_SUFFIX):
            scales[name.removesuffix(SCALE_SUFFIX)] = name, 1.0
        elif name.endswith(BITSANDBYTES[0]):
            scales[name.removesuffix(BITSANDBYTES[0]) + ".weight"] = name, 1 / LARGEST
        elif not name.endswith(BITSANDBYTES):
            found[name] = tensor
    for name, (scale, unit) in scales.items():
        if name not in found:
            raise WeightsError(f"{scale}: a scale without its tensor")
        rows, factors = found[name], state.stored[scale]
        fits = rows.dtype == "I8" and rows.raw and factors.shape == rows.shape[:1]
        if not fits:
            raise WeightsError(
                f"{name}: {rows.dtype} {rows.shape} does not go with {factors.shape} row scales"
            )
        scaled = Stored("F32", factors.shape, factors.size, (partial(_scales, factors, unit),))
        found[name] = coded(rows, scaled)
    return StoredTensors(found, state.metadata)


def coded(codes: Stored, scales: Stored) -> Stored:
    """An int8 tensor: its parts are the codes and their rows' scales, in fp32."""
    parts = codes.parts + scales.parts
    return Stored(CODED, codes.shape, codes.size + scales.size, parts, dequantized)


def dequantized(tensors: Sequence[Tensor], rows: Rows) -> Float[Tensor, "rows ..."]:
    """Some rows of int8 codes and their scales, in fp32."""
    codes, scales = (tensor[rows] for tensor in tensors)
    return codes.float().mul_(scales.reshape(-1, *[1] * (codes.ndim - 1)))


def _scales(factors: Stored, unit: float) -> Float[Tensor, " rows"]:
    return factors.read().float() * unit
