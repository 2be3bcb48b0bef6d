"""Int8 storage with one fp32 scale per row: a quarter of the bytes of fp32.

A row is one output of a linear layer, of a convolution, or one entry of an embedding. `X` becomes
`X` (int8, same shape) and `X.row_scale` (fp32, one per row): w is about q * scale, where scale is
the row's largest magnitude / 127. Rounding to the nearest makes an error of at most scale / 2, that
is max|row| / 254, plus fp32 rounding. Vectors (biases, norms) stay, in fp32.
"""

from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float, Int8, Shaped
from torch import Tensor

from flux1.errors import WeightsError
from flux1.weights.lazy import LazyTensors

SCHEME = "int8-rows"
METADATA = {"quantization": SCHEME}
SCALE_SUFFIX = ".row_scale"
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


def dequantize_rows(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Undo `quantize_rows`: fp32 tensors, each computed when asked for.

    WeightsError if a scale has no tensor or does not fit it.
    """
    scaled = {name.removesuffix(SCALE_SUFFIX) for name in state if name.endswith(SCALE_SUFFIX)}
    orphans = sorted(scaled - state.keys())
    if orphans:
        raise WeightsError(f"{orphans[0]}{SCALE_SUFFIX}: a scale without its tensor")
    return LazyTensors(
        {
            name: partial(_dequantized, state, name) if name in scaled
            else partial(state.__getitem__, name)
            for name in state
            if not name.endswith(SCALE_SUFFIX)
        }
    )  # fmt: skip


def _dequantized(state: Mapping[str, Tensor], name: str) -> Shaped[Tensor, "rows ..."]:
    steps: Int8[Tensor, "rows ..."] = state[name]
    scale: Float[Tensor, " rows"] = state[name + SCALE_SUFFIX]
    if steps.dtype != torch.int8 or scale.shape != steps.shape[:1]:
        raise WeightsError(
            f"{name}: {steps.dtype} {tuple(steps.shape)} does not go with "
            f"{tuple(scale.shape)} row scales"
        )
    return (steps.flatten(1) * scale[:, None]).reshape(steps.shape)
