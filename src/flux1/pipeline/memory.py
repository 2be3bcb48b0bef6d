"""Memory: how much a device has, how much was taken at most, and running out of it."""

import ctypes
import gc
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from flux1.errors import Flux1Error

_DROPPABLE = ("active_file", "inactive_file", "slab_reclaimable")  # caches, as MemAvailable has it
_UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Memory:
    """Bytes of a device: what this process could take now, and all that there are."""

    free: int
    total: int


def device_memory(device: torch.device) -> Memory | None:
    """None where it cannot be known: it is on CUDA (unless the driver has failed), and for a CPU on
    Linux."""
    if device.type == "cuda":
        try:
            free, total = torch.cuda.mem_get_info(device)
        except RuntimeError:  # what it is, the next model call says
            return None
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return Memory(free + cached, total)
    return host_memory() if device.type == "cpu" else None


def host_memory(
    meminfo: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")
) -> Memory | None:
    """The machine's, or the container's (cgroup v2) where that is less; None without `meminfo`."""
    if not meminfo.exists():
        return None
    lines = [line.split() for line in meminfo.read_text().splitlines()]
    kibibytes = {name: int(number) for name, number, *_ in lines}
    free, total = kibibytes["MemAvailable:"] * 1024, kibibytes["MemTotal:"] * 1024
    limit = group / "memory.max"
    if limit.exists() and (most := limit.read_text().strip()) != "max":
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        droppable = sum(int(stat[kind]) for kind in _DROPPABLE if kind in stat)
        used = int((group / "memory.current").read_text()) - droppable
        free, total = min(free, max(0, int(most) - used)), min(total, int(most))
    return Memory(free, total)


def resident() -> int | None:
    """Bytes of memory that this process takes now; None where the system does not tell."""
    return _status("VmRSS")


def peak_resident() -> int | None:
    """The most that it has taken since it began (on Windows: not known)."""
    if (most := _status("VmHWM")) is not None:  # Linux; `getrusage` there counts a parent's too
        return most
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def peaks(device: torch.device) -> dict[str, int]:
    """The most bytes that were taken so far: `memory` of this process, `graphics memory` of tensors
    on `device`, if it is a card. What is not known is left out."""
    host = peak_resident()
    found = {} if host is None else {"memory": host}
    if device.type == "cuda":
        found["graphics memory"] = torch.cuda.max_memory_allocated(device)
    return found


def give_back() -> None:
    """Return what was dropped to the system: networks hold themselves in circles, and allocators
    keep what they were given."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc's
        trim(0)


def parse_bytes(field: str, size: str) -> int:
    """Bytes of '12GB' (10^9 each), '6.5 GB', '500MB', '8GiB' (2^30 each), '12' (GB).

    Flux1Error, naming the field, for anything else.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([kmg]i?b?|)", size.strip().lower())
    if found is None:
        raise Flux1Error(f"{field}: {size!r} is not an amount of memory; for example 6GB or 500MB")
    unit = found[2] or "gb"
    return round(float(found[1]) * _UNITS[unit if unit.endswith("b") else f"{unit}b"])


def bytes_text(size: int) -> str:
    """1 GB is 10^9 bytes, as disks, cards and download pages count."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"


@contextmanager
def explain_out_of_memory(doing: str) -> Iterator[None]:
    """Flux1Error with advice in place of an allocator's failure; other errors pass."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as failure:
        known = isinstance(failure, (torch.OutOfMemoryError, MemoryError))
        if not known and "allocate memory" not in str(failure):  # the CPU allocator's own words
            raise
        raise Flux1Error(
            f"out of memory while {doing}; draw a smaller size or fewer pictures at once"
        ) from failure


def _status(field: str) -> int | None:
    """A line of /proc/self/status, in bytes."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), None)
