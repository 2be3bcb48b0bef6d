"""Weights in eight-bit floats: as they are, or times a scale.

Plain: a tensor is float8, nothing beside it. ComfyUI's "scaled": an empty tensor `scaled_fp8` marks
the file, `X.scale_weight` is a number (`X.scale_input`, for fp8 arithmetic, is not needed here).
Newer files of ComfyUI's and BFL's: `X.weight_scale`, a number or one per row, `X.input_scale`, and
`X.comfy_quant`, a description. The weight is float8 times scale.
"""

from functools import cache

import torch
from jaxtyping import BFloat16, Float
from torch import Tensor

from flux1.errors import WeightsError
from flux1.weights.files.lazy import EVERY, Rows, RowsOf, Stored, StoredTensors, derived

NAME = "fp8"
MARKER = "scaled_fp8"
SCALES = (".scale_weight", ".weight_scale")
UNUSED = (".scale_input", ".input_scale", ".comfy_quant")
NVFP4 = ".weight_scale_2"
E4M3 = torch.float8_e4m3fn
LARGEST = torch.finfo(E4M3).max  # 448


def recognise(state: StoredTensors) -> bool:
    """Return whether a tensor is float8, or a scale or the marker is there."""
    return any(
        tensor.dtype.startswith("F8_") or name == MARKER or name.endswith((*SCALES, NVFP4))
        for name, tensor in state.stored.items()
    )


def plain(state: StoredTensors) -> StoredTensors:
    """Scaled weights to float32, others to bfloat16, which holds every float8 exactly.

    WeightsError if a scale has no weight or does not fit it, and for nvfp4.
    """
    found: dict[str, Stored] = {}
    scales: dict[str, Stored] = {}
    for name, tensor in state.stored.items():
        base, dot, last = name.rpartition(".")
        if dot + last in SCALES:
            scales[f"{base}.weight"] = tensor
        elif dot + last == NVFP4:
            raise WeightsError(f"{base}: is packed as nvfp4, which is not read; fp8 files are")
        elif name != MARKER and dot + last not in UNUSED:
            found[name] = tensor
    for name, tensor in found.items():
        if _is_fp8(tensor) and name not in scales:
            found[name] = derived(tensor.dtype, tensor.shape, [tensor], _widened)
    for name, scale in scales.items():
        if name not in found:
            raise WeightsError(f"{name}: a scale without its weight")
        weight = found[name]
        rows = weight.shape[:1]
        if not _is_fp8(weight) or scale.shape not in ((), (1,), rows, (*rows, 1)):
            raise WeightsError(
                f"{name}: {weight.dtype} {weight.shape} does not go with a scale of {scale.shape}"
            )
        found[name] = derived(weight.dtype, weight.shape, [weight, scale], scaled)
    return StoredTensors(found, state.metadata)


def to_fp8(numbers: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Rounded to e4m3. WeightsError for numbers beyond its range."""
    if not numbers.abs().amax() <= LARGEST:
        raise WeightsError(f"holds numbers beyond fp8's {LARGEST:.0f}; take fp8_scaled")
    return numbers.to(E4M3)


def scale_of(largest: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The scale of a tensor whose largest magnitude this is: fp8's whole range is used."""
    return largest.float() / LARGEST if largest > 0 else torch.ones(())


def scaled(rows: Rows, weight: RowsOf, scale: RowsOf) -> Float[Tensor, "rows ..."]:
    """Some rows of a weight times its scale or their own, in fp32."""
    numbers = _numbers(weight(rows), torch.float32)
    factors = scale(EVERY).float().flatten()
    if factors.numel() > 1:
        factors = factors[rows]
    return numbers.mul_(factors.reshape(-1, *[1] * (numbers.ndim - 1)))


def _is_fp8(tensor: Stored) -> bool:
    return tensor.dtype.startswith("F8_") and tensor.raw


def _widened(rows: Rows, weight: RowsOf) -> BFloat16[Tensor, "..."]:
    return _numbers(weight(rows), torch.bfloat16)


def _numbers(eights: Float[Tensor, "..."], dtype: torch.dtype) -> Float[Tensor, "..."]:
    """Exactly, by a table: torch's own conversion is many times slower."""
    places = eights.contiguous().view(torch.uint8).flatten().int()
    every = _every_number(eights.dtype, dtype, eights.device)
    return every.index_select(0, places).reshape(eights.shape)


@cache
def _every_number(
    eight: torch.dtype, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "256"]:
    return torch.arange(256, dtype=torch.uint8).view(eight).to(device, dtype)
