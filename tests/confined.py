"""What a reader makes of a file, in a process of its own whose memory and time are bounded."""

import os
import resource
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from flux1.errors import Flux1Error

MEMORY = 300 * 2**20  # bytes beyond what this process has
CPU_S = 4  # of its own; an answer is to come within 2 s on a machine with nothing else to do


@dataclass(frozen=True)
class Outcome:
    """`kind` is `read`, `refused` (in one clean line) or `failed`; `said` the line, or why."""

    kind: str
    said: str = ""


def confined(action: Callable[[], object]) -> Outcome:
    """The outcome of an action in a forked process."""
    incoming, outgoing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(incoming)
        os.write(outgoing, _outcome(action).encode("utf-8", "backslashreplace")[:60_000])
        os._exit(0)
    os.close(outgoing)
    with os.fdopen(incoming, "rb") as stream:
        told = stream.read().decode()
    _, status = os.waitpid(process, 0)
    left = os.waitstatus_to_exitcode(status)
    if left:
        return Outcome("failed", f"ended by {signal.Signals(-left).name if left < 0 else left}")
    kind, _, said = told.partition(" ")
    return Outcome(kind, said)


def _outcome(action: Callable[[], object]) -> str:
    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(60)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        action()
    except Flux1Error as error:
        said = str(error)
        clean = len(said) <= 2000 and said.splitlines() == [said]
        return f"refused {said}" if clean else f"failed a message of {len(said)}: {said[:300]!r}"
    except BaseException as error:  # Rust's panics, too
        return f"failed {type(error).__name__}: {_place(error)}: {str(error)[:200]!r}"
    return "read"


def _place(error: BaseException) -> str:
    """The line of ours that the error went through last."""
    steps = traceback.extract_tb(error.__traceback__)
    ours = [step for step in steps if "flux1" in step.filename] or steps
    return f"{ours[-1].filename}:{ours[-1].lineno}"
