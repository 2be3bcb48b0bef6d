"""`flux1` as a user runs it: a process of its own."""

import subprocess
import sys

# Linux lets a process's peak begin at that of the one which started it: this one is small.
_LAUNCHER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def flux1(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "flux1", *map(str, words)],
        capture_output=True, text=True, cwd=cwd, timeout=300, check=False,
    )  # fmt: skip


def peak_of_flux1(*words):
    """The most bytes that it took, as the system (Linux) saw it; it has to succeed."""
    command = [sys.executable, "-m", "flux1", *map(str, words)]
    launched = [sys.executable, "-c", _LAUNCHER, *command]
    done = subprocess.run(launched, capture_output=True, text=True, timeout=300, check=True)
    return int(done.stdout)
