"""Processes that are measured, and servers that are asked."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# A process starts with the memory of the one that starts it on its account: this one is small.
_LAUNCHER = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
seconds, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = used.ru_utime + used.ru_stime
print(json.dumps([done.returncode, done.stdout, done.stderr, seconds, cpu, used.ru_maxrss / 1024]))
"""


@dataclass(frozen=True)
class Process:
    """A process that has ended well, by the system's own account of it: wall time, processor time
    of all its threads, most memory at once; and what it printed."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    output: str


def run_python(*words: str, cwd: str | Path | None = None) -> Process:
    """Run Python with these words. RuntimeError, with what it said, where it fails."""
    launch = [sys.executable, "-S", "-c", _LAUNCHER, sys.executable, *words]
    told = subprocess.run(launch, cwd=cwd, stdout=subprocess.PIPE, text=True, check=True)
    code, output, errors, wall, cpu, peak = json.loads(told.stdout)
    if code:
        raise RuntimeError(f"{' '.join(words)} ended with {code}:\n{errors}")
    return Process(wall, cpu, peak, output)


def summary(runs: list[Process]) -> dict[str, float]:
    """The least and the median of the times, the most memory."""
    found: dict[str, float] = {"runs": len(runs), "peak_mib": max(run.peak_mib for run in runs)}
    for key in ("wall_s", "cpu_s"):
        times = [getattr(run, key) for run in runs]
        found |= {f"least_{key}": min(times), f"median_{key}": statistics.median(times)}
    return {key: round(value, 3) for key, value in found.items()}


def resident_mib(pid: int) -> int | None:
    """A process's memory now, where /proc tells it."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    sizes = [line.split()[1] for line in lines if line.startswith("VmRSS")]
    return int(sizes[0]) // 1024 if sizes else None


@dataclass(frozen=True)
class Server:
    """`flux1 serve` as a process, the address it answers at, and how long it took to say so."""

    process: subprocess.Popen
    base_url: str
    ready_s: float

    def stop(self, kill: bool = False) -> None:
        """End it, with SIGKILL if asked, and wait until it has ended."""
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait()


def start_server(data: Path, *words: str) -> Server:
    """Serve from a data folder on a free port, without limits on how much may be asked; returns
    once it answers. What it logs goes to server.log in the folder."""
    command = [sys.executable, "-m", "flux1", "serve", "--data", str(data), "--port", "0", "--json"]
    limits = {"FLUX1_CONCURRENCY": "1000", "FLUX1_REQUESTS_PER_MINUTE": "100000"}
    began, log = time.monotonic(), data / "server.log"
    with log.open("a") as errors:
        process = subprocess.Popen(
            [*command, *words],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **limits},
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"the server did not start:\n{log.read_text()[-2000:]}")
    return Server(process, json.loads(line)["base_url"], time.monotonic() - began)


@contextmanager
def served(data: Path, *words: str) -> Iterator[Server]:
    """Such a server, which is ended at the end."""
    server = start_server(data, *words)
    try:
        yield server
    finally:
        server.stop()
