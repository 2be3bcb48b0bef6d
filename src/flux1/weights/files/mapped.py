"""Bytes of a file as tensors, mapped and not read.

Each tensor is a mapping of its own, given back to the system when the tensor is dropped: a file is
walked through in the memory of its largest tensor, and one larger than the machine's memory can be
opened. Pages are private: writing to a tensor does not change the file.
"""

import math
import mmap
import os
import weakref
from pathlib import Path

import torch
from torch import Tensor

from flux1.errors import WeightsError


class MappedFile:
    """A file held open (once, for its header and its tensors), whose ranges can be had as
    tensors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._number)
        self.size = os.fstat(self._number).st_size

    def read(self, start: int, size: int) -> bytes:
        """Bytes copied out of the file: fewer than `size` where it ends before. To be called before
        the file is shared among threads."""
        os.lseek(self._number, start, os.SEEK_SET)
        pieces = []
        while size and (piece := os.read(self._number, size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def pages(self) -> mmap.mmap:
        """The whole file, to be read only. ValueError if it is empty."""
        return mmap.mmap(self._number, 0, access=mmap.ACCESS_READ)

    def tensor(self, start: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """The tensor whose bytes begin at `start`. WeightsError if the file ends before it does."""
        size = math.prod(shape) * dtype.itemsize
        if size == 0:
            try:
                return torch.empty(shape, dtype=dtype)
            except RuntimeError as failure:  # sides whose product is too large, before the nought
                raise WeightsError(f"{self.path}: claims a tensor of {shape}") from failure
        skipped = start % mmap.ALLOCATIONGRANULARITY
        try:
            pages = mmap.mmap(
                self._number, skipped + size, access=mmap.ACCESS_COPY, offset=start - skipped
            )
        except ValueError as failure:
            raise WeightsError(f"{self.path}: was cut short while it was read") from failure
        flat = torch.frombuffer(pages, dtype=torch.uint8, count=size, offset=skipped)
        if start % dtype.itemsize:
            flat = flat.clone()  # a view needs aligned bytes
        return flat.view(dtype).reshape(shape)
