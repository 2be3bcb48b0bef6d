"""Quantising a network's layers, one tensor at a time, while it is loaded or after.

Only the layers inside the blocks are quantised: they are 99 % of the weights. Of these, the
modulation keeps the arithmetic of the compute dtype; it has one row for each picture.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from flux1.errors import Flux1Error, WeightsError
from flux1.model.fp8 import fp8_linear, fp8_rows
from flux1.model.int8 import int8_linear
from flux1.model.stored import StoredLinear
from flux1.weights.files.lazy import Stored, derived, in_memory
from flux1.weights.numbers import fp8, int8
from flux1.weights.numbers.stored import Arithmetic, Kept

# int8: weights in eight bits, arithmetic in the compute dtype; int8_dynamic: arithmetic too;
# fp8: both in eight-bit floats, on graphics cards that have it.
Quantization = Literal["int8", "int8_dynamic", "fp8"]
ARITHMETIC: dict[Quantization, Arithmetic | None] = {
    "int8": None,
    "int8_dynamic": int8_linear,
    "fp8": fp8_linear,
}
MULTIPLES: dict[Quantization, int] = {"int8": 1, "int8_dynamic": 8, "fp8": 16}  # on CUDA, of sides
PLAIN = "img_in"  # of the linear layers alone never stored: it tells the network's dtype and device
FP8_CAPABILITY = (8, 9)  # Ada
PIECE = 2**22  # numbers that are worked on at once


def check_device(quantize: Quantization, device: torch.device) -> None:
    """Flux1Error, naming what to take instead, if the device cannot compute so."""
    if quantize == "fp8" and (
        device.type != "cuda" or torch.cuda.get_device_capability(device) < FP8_CAPABILITY
    ):
        raise Flux1Error(
            f"quantize: fp8 needs a graphics card that computes in it (Ada, Hopper or later), not "
            f"{device}; take int8_dynamic"
        )
    if quantize == "int8_dynamic" and device.type not in ("cpu", "cuda"):
        raise Flux1Error(f"quantize: int8_dynamic runs on cpu and cuda, not {device}; take int8")


def quantizable(name: str) -> bool:
    """Whether a linear layer of this name is inside a block of the transformer or of T5."""
    return "block" in name


def quantized(name: str, stored: Stored, how: Quantization, device: torch.device | str) -> Kept:
    """A weight in eight bits, in memory. WeightsError, naming it, if it holds numbers that are not
    finite, or a graphics card's kernels do not take its shape."""
    device, multiple = torch.device(device), MULTIPLES[how]
    if device.type == "cuda" and any(side % multiple for side in stored.shape):
        raise WeightsError(f"{name}: {how} takes widths that are multiples of {multiple}")
    tensors, made = stored.opened(), []
    step = max(1, PIECE // stored.shape[1])
    for start in range(0, stored.shape[0], step):
        rows = stored.decode(tensors, slice(start, start + step)).to(device)
        made.append(_coded(name, rows, how))
    codes, scales = (torch.cat(parts) for parts in zip(*made, strict=True))
    return Kept(_stored(codes, scales), (codes, scales), ARITHMETIC[how])


def mapped_arithmetic(name: str, stored: Stored, how: Quantization | None) -> Arithmetic | None:
    """What multiplies a weight that stays in its file. WeightsError if it is not kept there as the
    arithmetic needs it."""
    if how is None:
        return None
    if how == "fp8" or stored.decode is not int8.dequantized:
        raise WeightsError(
            f"{name}: is kept as {stored.dtype}; what stays in its file is quantised there: "
            "flux1 convert IN OUT --to bfl --dtype int8, then take int8_dynamic"
        )
    return ARITHMETIC[how]


def as_it_is(weight: Tensor) -> Kept:
    """A weight that is not quantised, for a layer of a network whose others are: a stored layer
    computes what belongs to one picture with the same bits in any company."""
    return Kept(in_memory(weight), [weight])


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


def _coded(name: str, rows: Tensor, how: Quantization) -> tuple[Tensor, Tensor]:
    if how != "fp8":
        found = int8.quantize_rows({name: rows})
        return found[name], found[name + int8.SCALE_SUFFIX]
    if not rows.isfinite().all():
        raise WeightsError(f"{name}: holds numbers that are not finite, cannot quantise it")
    codes, scales = fp8_rows(rows)
    return codes, scales.flatten()


def _stored(codes: Tensor, scales: Tensor) -> Stored:
    parts = in_memory(codes), in_memory(scales)
    if codes.dtype == torch.int8:
        return int8.coded(*parts)
    return derived(parts[0].dtype, parts[0].shape, parts, fp8.scaled)
