"""What memory a device has."""

from dataclasses import dataclass
from pathlib import Path

import torch

_DROPPABLE = ("active_file", "inactive_file", "slab_reclaimable")  # caches, as MemAvailable has it


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
