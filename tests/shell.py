"""`flux1`, and Python, as a user runs them: processes of their own."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

# Linux lets a process's peak begin at that of the one which started it: this one is small.
_LAUNCHER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def flux1(*words: object, cwd: Path | None = None) -> CompletedProcess[str]:
    """Run the command with these words."""
    return _run(["flux1", *map(str, words)], None, cwd)


def python(code: str, *words: object, cwd: Path | None = None) -> CompletedProcess[str]:
    """Run a script that needs torch. What a script imports first is not for this: torch and the
    command are there already."""
    return _run(["-c", *map(str, words)], code, cwd)


def peak_of_flux1(*words: object) -> int:
    """The most bytes that it took, as the system (Linux) saw it; it has to succeed."""
    command = [sys.executable, "-m", "flux1", *map(str, words)]
    launched = [sys.executable, "-c", _LAUNCHER, *command]
    done = subprocess.run(launched, capture_output=True, text=True, timeout=300, check=True)
    return int(done.stdout)


def _run(argv: list[str], code: str | None, cwd: Path | None) -> CompletedProcess[str]:
    """Fork a process from one that has imported torch: starting Python and importing torch takes
    longer than most of what is asked for. Systems that cannot fork start one."""
    if not hasattr(os, "fork"):
        start = ["-m", "flux1"] if code is None else ["-c", code]
        return subprocess.run(
            [sys.executable, *start, *argv[1:]],
            capture_output=True, text=True, cwd=cwd, timeout=300, check=False,
        )  # fmt: skip
    with TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        out.touch(), err.touch()
        asked = {
            "argv": argv, "code": code, "cwd": str(cwd or Path.cwd()), "env": dict(os.environ),
            "out": str(out), "err": str(err),
        }  # fmt: skip
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        return CompletedProcess(argv, status, out.read_text(), err.read_text())


@cache
def _server() -> subprocess.Popen[str]:
    """It ends with this process, when its input does."""
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("forked.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
