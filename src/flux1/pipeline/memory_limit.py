"""The memory that may be taken: as much as is given, or as is free."""

import sys
from dataclasses import dataclass, replace

import torch

from flux1.pipeline.memory import device_memory, parse_bytes, resident
from flux1.variants import Variant
from flux1.weights.kinds.table import KINDS

SHARE = 0.9  # of what is free; the rest is others'
PROCESS = 400_000_000  # Python and torch, where the system does not tell
KERNELS = 80_000_000  # what of torch comes in with the first computation
TEXT_LIBRARY = 150_000_000  # `transformers` and its tokenizers, before they are imported


@dataclass(frozen=True)
class MemoryLimit:
    """Bytes that may be taken: of the process' memory, of which it has `process` before there are
    weights; and of a card's, None without one."""

    ram: int
    process: int
    vram: int | None = None


def free_memory(device: torch.device, variant: Variant) -> MemoryLimit:
    """The memory that is free here, for models of this kind; no bound where it is not known. Ask
    when no network is loaded, and their shapes were counted: that brings in a part of torch."""
    process = (resident() or PROCESS) + KERNELS
    slow = any(KINDS[kind].imports for kind in variant.text.encoders)
    if slow and "transformers" not in sys.modules:
        process += TEXT_LIBRARY
    host, card = (device_memory(torch.device("cpu")), device_memory(device))
    ram = sys.maxsize if host is None else process + int(SHARE * host.free)
    if device.type != "cuda":
        return MemoryLimit(ram, process)
    return MemoryLimit(ram, process, sys.maxsize if card is None else int(SHARE * card.free))


def limit_within(memory: int | str, device: torch.device, variant: Variant) -> MemoryLimit:
    """The memory that is free here, if no more than `memory` may be taken of a card's memory, or
    without one of the process': bytes, '6GB', or 'auto' for all of it. Flux1Error if it is none of
    these."""
    free = free_memory(device, variant)
    if memory == "auto":
        return free
    most = parse_bytes("memory", memory) if isinstance(memory, str) else memory
    if free.vram is None:
        return replace(free, ram=min(most, free.ram))
    return replace(free, vram=min(most, free.vram))
