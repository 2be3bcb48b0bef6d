"""Where and when a result was measured: written into every result file."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("flux1", "torch", "transformers", "diffusers", "numpy", "pillow")


def processor() -> str:
    """The processor's own name for itself, where Linux tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def about() -> dict:
    """Hardware, software, date, and how loaded the machine was at the start."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "versions": versions(),
    }


def result_path(name: str, label: str = "", folder: Path = RESULTS) -> Path:
    """NAME-DATE[-LABEL].json, in a folder that exists; the day's later run replaces it."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [name, datetime.now(UTC).date().isoformat(), label]
    return folder / f"{'-'.join(part for part in parts if part)}.json"


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with these variables, for a process that is measured."""
    return {**os.environ, **variables}


def resident_mib(pid: int) -> int | None:
    """A process's memory now, where /proc tells it."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    sizes = [line.split()[1] for line in lines if line.startswith("VmRSS")]
    return int(sizes[0]) // 1024 if sizes else None
