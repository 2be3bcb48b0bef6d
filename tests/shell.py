"""`flux1` as a user runs it: a process of its own."""

import subprocess
import sys


def flux1(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "flux1", *map(str, words)],
        capture_output=True, text=True, cwd=cwd, timeout=300, check=False,
    )  # fmt: skip
