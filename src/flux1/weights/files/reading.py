"""The speed at which a weight file is read and decoded on this machine: tried on a part of it."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from flux1.errors import WeightsError
from flux1.weights.files.open import naming, open_tensors
from flux1.weights.files.safetensors import expected_files

TRIES = 3  # the fastest counts: others may be at work
PIECE = 2**20  # numbers that are decoded
READ = 2**27  # bytes that are read


def fastest(action: Callable[[], object], device: torch.device) -> float:
    """Seconds that it takes at best, once it is warm."""
    took = []
    for _ in range(TRIES + 1):
        began = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took.append(time.perf_counter() - began)
    return max(min(took[1:]), 1e-9)


def decode_rate(path: Path, dtype: torch.dtype, device: torch.device) -> float:
    """Numbers a second of the largest tensor of a file, from memory, as `keep="packed"` has it."""
    with naming(path):
        state = open_tensors(path).stored.values()
        stored = max((s for s in state if len(s.shape) == 2), key=lambda s: s.size, default=None)
        if stored is None:
            raise WeightsError("holds no matrix")
        rows = slice(0, max(1, min(stored.shape[0], PIECE // max(1, stored.shape[1]))))
        tensors = [tensor.to(device, copy=True) for tensor in stored.opened()]
        seconds = fastest(lambda: stored.decode(tensors, rows).to(dtype, copy=True), device)
    return rows.stop * stored.shape[1] / seconds


def disk_rate(path: Path) -> float | None:
    """Bytes a second of reading a file that is in no cache; None where the system cannot be asked
    to forget the part that is read."""
    if not hasattr(os, "posix_fadvise"):
        return None
    file = max(expected_files(path), key=lambda one: one.stat().st_size)
    size = min(READ, file.stat().st_size)
    number = os.open(file, os.O_RDONLY)
    try:
        start = (file.stat().st_size - size) // 2
        os.posix_fadvise(number, start, size, os.POSIX_FADV_DONTNEED)
        began, end = time.perf_counter(), start + size
        while start < end and (read := len(os.pread(number, 2**23, start))):
            start += read
        return size / max(time.perf_counter() - began, 1e-9)
    finally:
        os.close(number)
