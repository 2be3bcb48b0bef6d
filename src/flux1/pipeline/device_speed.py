"""The speed of this machine: a product, a weight decoded, a file read, each tried for a moment."""

from dataclasses import dataclass

import torch
from torch import nn

from flux1.weights.files.reading import PIECE, decode_rate, disk_rate, fastest
from flux1.weights.numbers.quantize import Quantization, quantize_layers
from flux1.weights.sources import Source

SIDE, ROWS = 3072, 512  # of a product: as in FLUX.1's layers


@dataclass(frozen=True)
class DeviceSpeed:
    """The speed of a device: operations a second in a linear layer, numbers a second that are
    brought from their file's form to the compute dtype, bytes a second from the disk. None: not
    known."""

    flops: float | None = None
    unpacked: float | None = None
    disk: float | None = None


def measure(
    source: Source | None,
    device: torch.device,
    dtype: torch.dtype,
    quantize: Quantization | None = None,
) -> DeviceSpeed:
    """The speed that is reached here: it takes seconds and 0.1 GB. Without files, the weights are
    taken to be in bfloat16, and the disk's rate is not known."""
    layer = nn.Linear(SIDE, SIDE, bias=False, device=device, dtype=dtype).requires_grad_(False)
    network = nn.ModuleDict({"block": layer})
    if quantize is not None:
        quantize_layers(network, quantize)
    x = torch.randn(1, ROWS, SIDE, device=device, dtype=dtype)
    flops = 2 * ROWS * SIDE**2 / fastest(lambda: network["block"](x), device)
    if source is None or source.files is None:
        kept = torch.zeros(PIECE, device=device, dtype=torch.bfloat16)
        return DeviceSpeed(flops, PIECE / fastest(lambda: kept.to(dtype, copy=True), device))
    path = source.files.networks["transformer"].path
    return DeviceSpeed(flops, decode_rate(path, dtype, device), disk_rate(path))
