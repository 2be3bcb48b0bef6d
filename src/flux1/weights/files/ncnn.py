"""ncnn's pair of files: a `.param` that lists the layers, a `.bin` with their numbers, in order.

A convolution's numbers are a word that says how they are kept, its weights (padded to four bytes)
and its bias; a PReLU's are its slopes. Read are float16 weights, as `ncnnoptimize` writes them
(github.com/Tencent/ncnn, docs/developer-guide/operators.md and src/modelbin.cpp).
"""

import numpy as np
import torch
from torch import Tensor

from flux1.errors import WeightsError

HALF = 0x01306B47  # the word in front of float16 numbers


def read_ncnn(param: str, data: bytes, side: int = 3) -> list[dict[str, Tensor]]:
    """The tensors of each convolution (`weight`, `bias`; kernels of `side` x `side`) and PReLU
    (`weight`), in the order of a `.param`'s text. WeightsError if it is of another kind."""
    layers: list[dict[str, Tensor]] = []
    reader = _Reader(data)
    for line in param.splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        parameters = dict(word.split("=") for word in rest[int(inputs) + int(outputs) :])
        if kind == "Convolution":
            kernels, count = int(parameters["0"]), int(parameters["6"])
            weight = reader.halves(count).reshape(kernels, -1, side, side)
            layers.append({"weight": weight, "bias": reader.floats(kernels)})
        elif kind == "PReLU":
            layers.append({"weight": reader.floats(int(parameters["0"]))})
    if reader.rest:
        raise WeightsError(f"ncnn: {reader.rest} bytes belong to layers that are not known here")
    return layers


class _Reader:
    """Numbers from a `.bin`, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    @property
    def rest(self) -> int:
        """Bytes that were not read."""
        return len(self._data) - self._place

    def floats(self, count: int) -> Tensor:
        return self._numbers("<f4", count)

    def halves(self, count: int) -> Tensor:
        word = int.from_bytes(self._take(4), "little")
        if word != HALF:
            raise WeightsError(f"ncnn: weights begin with {word:#010x}, float16 with {HALF:#010x}")
        numbers = self._numbers("<f2", count)
        self._take(-2 * count % 4)
        return numbers

    def _numbers(self, kind: str, count: int) -> Tensor:
        size = count * np.dtype(kind).itemsize
        return torch.from_numpy(np.frombuffer(self._take(size), kind).copy())

    def _take(self, size: int) -> bytes:
        if size > self.rest:
            raise WeightsError(f"ncnn: truncated: {size} bytes are wanted, {self.rest} are left")
        self._place += size
        return self._data[self._place - size : self._place]
