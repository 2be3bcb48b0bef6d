"""What there is, read from the system, and from files as a container's system writes them."""

import os
import sys

import pytest
import torch

from flux1.errors import Flux1Error
from flux1.pipeline.memory import (
    Memory,
    bytes_text,
    device_memory,
    give_back,
    host_memory,
    parse_bytes,
    peak_resident,
    peaks,
    resident,
)

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/meminfo is Linux'")
def test_the_machines_memory_is_what_the_system_says(tmp_path):
    memory = host_memory(group=tmp_path)
    assert memory.total == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory.free < memory.total
    assert device_memory(torch.device("cpu")).total <= memory.total


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
def test_what_the_allocator_keeps_can_be_taken_again():
    card = torch.device("cuda")
    before = device_memory(card)
    assert before.total == torch.cuda.get_device_properties(card).total_memory
    tensor = torch.zeros(256 * MIB, dtype=torch.uint8, device=card)
    held = device_memory(card)
    del tensor
    assert before.free - held.free >= 200 * MIB
    assert device_memory(card).free - held.free == 256 * MIB


def test_elsewhere_nobody_knows(tmp_path):
    assert host_memory(tmp_path / "meminfo") is None
    assert device_memory(torch.device("meta")) is None


@pytest.mark.parametrize(("limit", "expected"), [
    (None, Memory(3000 * MIB, 8000 * MIB)),
    ("max", Memory(3000 * MIB, 8000 * MIB)),
    (str(1000 * MIB), Memory(500 * MIB, 1000 * MIB)),
    (str(9000 * MIB), Memory(3000 * MIB, 8000 * MIB)),
])  # fmt: skip
def test_a_container_has_what_its_limit_leaves(tmp_path, limit, expected):
    """Of its 700 MiB, 200 are files' pages that can be dropped."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(
        f"MemTotal: {8000 * 1024} kB\nMemFree: 1 kB\nMemAvailable: {3000 * 1024} kB\nHugePages: 0\n"
    )
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{700 * MIB}\n")
        (tmp_path / "memory.stat").write_text(
            f"anon {500 * MIB}\ninactive_file {100 * MIB}\n"
            f"active_file {60 * MIB}\nslab_reclaimable {40 * MIB}\n"
        )
    assert host_memory(meminfo, tmp_path) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")
def test_what_is_dropped_is_given_back_and_the_peak_remembers_it():
    """Of many small tensors too, which the C library keeps when they are freed."""
    give_back()
    before = resident()
    held = [torch.ones(2**14) for _ in range(2**10)]  # 64 MiB
    taken = resident() - before
    assert taken > 60 * MIB
    held.clear()
    give_back()
    assert resident() - before < taken / 3
    assert peak_resident() >= before + 60 * MIB
    assert peaks(torch.device("cpu")) == {"memory": peak_resident()}


@pytest.mark.parametrize(("text", "size"), [
    ("6GB", 6e9), ("6.5 gb", 6.5e9), ("500MB", 5e8), ("500m", 5e8), ("8GiB", 8 * 2**30),
    ("12", 12e9), (" 1kb ", 1000), ("0.25GiB", 2**28),
])  # fmt: skip
def test_amounts_of_memory_are_read(text, size):
    assert parse_bytes("memory", text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "3 apples", "-3GB", "3,5GB", "1e9", "nan", "6TB", "6 G B"]
)
def test_what_is_no_amount_is_refused_in_one_line(text):
    with pytest.raises(Flux1Error, match=r"ram: .* is not an amount of memory; for example 6GB"):
        parse_bytes("ram", text)


@pytest.mark.parametrize(
    "size", [3_000_000, 10_000_000, 999_000_000, 1_230_000_000, 47_600_000_000]
)
def test_amounts_are_shown_as_they_are_read(size):
    assert parse_bytes("memory", bytes_text(size)) == size
