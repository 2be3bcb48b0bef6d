"""Quantising a network's layers, one tensor at a time, while it is loaded or after.

Only the layers inside the blocks are quantised: they are 99 % of the weights. Of these, the
modulation keeps the arithmetic of the compute dtype; it has one row for each picture.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flux1.errors import Flux1Error, WeightsError
from flux1.model.fp8 import fp8_linear, fp8_rows
from flux1.model.int8 import int8_linear
from flux1.model.stored import StoredLinear
from flux1.weights.files.lazy import Stored, derived, in_memory
from flux1.weights.numbers import fp8, int8
from flux1.weights.numbers.choices import Quantization
from flux1.weights.numbers.stored import Arithmetic, StoredMatrix

PLAIN = "img_in"  # of the linear layers alone never stored: it tells the network's dtype and device
FP8_CAPABILITY = (8, 9)  # Ada
PIECE = 2**22  # numbers that are worked on at once


@dataclass(frozen=True)
class EightBits:
    """A way to have a layer's weight in eight bits, with a scale for each row.

    `arithmetic` multiplies it in eight bits, None: in the compute dtype. `code` gives the codes and
    scales of some rows, of a layer of this name; `stored` is the weight that these are. `decode` is
    that of files whose weights can stay there, None: of none. On CUDA, the sides of a weight are
    multiples of `multiple`. `runs_on` says which devices compute so; `instead` what is said else.
    """

    arithmetic: Arithmetic | None
    code: Callable[[str, Tensor], tuple[Tensor, Tensor]]
    stored: Callable[[Stored, Stored], Stored]
    decode: Callable[..., Tensor] | None
    multiple: int
    runs_on: Callable[[torch.device], bool]
    instead: str = ""


def _int8_rows(name: str, rows: Tensor) -> tuple[Tensor, Tensor]:
    found = int8.quantize_rows({name: rows})
    return found[name], found[name + int8.SCALE_SUFFIX]


def _fp8_rows(name: str, rows: Tensor) -> tuple[Tensor, Tensor]:
    if not rows.isfinite().all():
        raise WeightsError(f"{name}: holds numbers that are not finite, cannot quantise it")
    codes, scales = fp8_rows(rows)
    return codes, scales.flatten()


def _fp8_stored(codes: Stored, scales: Stored) -> Stored:
    return derived(codes.dtype, codes.shape, (codes, scales), fp8.scaled)


def _has_fp8(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= FP8_CAPABILITY


QUANTIZATIONS: dict[Quantization, EightBits] = {
    "int8": EightBits(None, _int8_rows, int8.coded, int8.dequantized, 1, lambda device: True),
    "int8_dynamic": EightBits(
        int8_linear,
        _int8_rows,
        int8.coded,
        int8.dequantized,
        8,
        lambda device: device.type in ("cpu", "cuda"),
        "int8_dynamic runs on cpu and cuda, not {}; take int8",
    ),
    "fp8": EightBits(
        fp8_linear,
        _fp8_rows,
        _fp8_stored,
        None,
        16,
        _has_fp8,
        "fp8 needs a graphics card that computes in it (Ada, Hopper or later), not {}; take "
        "int8_dynamic",
    ),
}


def check_device(quantize: Quantization, device: torch.device) -> None:
    """Flux1Error, naming what to take instead, if the device cannot compute so."""
    row = QUANTIZATIONS[quantize]
    if not row.runs_on(device):
        raise Flux1Error(f"quantize: {row.instead.format(device)}")


def quantizable(name: str) -> bool:
    """Return whether a linear layer of this name is inside a block of the transformer or of T5."""
    return "block" in name


def quantized(
    name: str, stored: Stored, how: Quantization, device: torch.device | str
) -> StoredMatrix:
    """A weight in eight bits, in memory. WeightsError, naming it, if it holds numbers that are not
    finite, or a graphics card's kernels do not take its shape."""
    device, row = torch.device(device), QUANTIZATIONS[how]
    if device.type == "cuda" and any(side % row.multiple for side in stored.shape):
        raise WeightsError(f"{name}: {how} takes widths that are multiples of {row.multiple}")
    tensors, made = stored.opened(), []
    step = max(1, PIECE // stored.shape[1])
    for start in range(0, stored.shape[0], step):
        rows = stored.decode(tensors, slice(start, start + step)).to(device)
        made.append(row.code(name, rows))
    codes, scales = (torch.cat(parts) for parts in zip(*made, strict=True))
    kept = row.stored(in_memory(codes), in_memory(scales))
    return StoredMatrix(kept, (codes, scales), row.arithmetic)


def mapped_arithmetic(name: str, stored: Stored, how: Quantization | None) -> Arithmetic | None:
    """The arithmetic for a weight that stays in its file. WeightsError if it is not kept there as
    the arithmetic needs it."""
    if how is None:
        return None
    if stored.decode is not QUANTIZATIONS[how].decode:
        raise WeightsError(
            f"{name}: is kept as {stored.dtype}; what stays in its file is quantised there: "
            "flux1 convert IN OUT --to bfl --dtype int8, then take int8_dynamic"
        )
    return QUANTIZATIONS[how].arithmetic


def as_it_is(weight: Tensor) -> StoredMatrix:
    """A weight that is not quantised, for a layer of a network whose others are: a stored layer
    computes what belongs to one picture with the same bits in any company."""
    return StoredMatrix(in_memory(weight), [weight])


def quantize_layers(network: nn.Module, how: Quantization) -> None:
    """Quantise a transformer that is loaded: as it goes, each layer's plain weight is dropped.

    Flux1Error if its device cannot; WeightsError as above.
    """
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Linear) and name != PLAIN:
            weight = layer.weight.detach()
            check_device(how, weight.device)
            matrix = as_it_is(weight)
            if quantizable(name):
                matrix = quantized(name, in_memory(weight), how, weight.device)
            stored = StoredLinear(matrix, layer.bias, weight.dtype, weight.device)
            network.set_submodule(name, stored)
