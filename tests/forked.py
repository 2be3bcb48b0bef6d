"""Runs what it is told in processes forked from this one, which has imported what the commands do
and done nothing else. Reads a line of JSON for each, answers with the exit status."""

import atexit
import gc
import importlib
import json
import os
import signal
import sys
import threading
import traceback

from flux1.cli.main import main

PATIENCE_S = 300
IMPORTED = (
    "torch", "tokenizers", "flux1.settings", "flux1.pipeline.load", "flux1.pipeline.plan",
    "flux1.pipeline.lora", "flux1.weights.convert", "flux1.weights.inspect",
    "flux1.safety.provenance", "flux1.training.finetune.run",
)  # fmt: skip


def become(asked: dict) -> None:
    """Make this process the one that was asked for, as if it had just been started."""
    signal.alarm(PATIENCE_S)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    files = (os.devnull, os.O_RDONLY), (asked["out"], os.O_WRONLY), (asked["err"], os.O_WRONLY)
    for number, (file, mode) in enumerate(files):
        os.dup2(os.open(file, mode), number)
    sys.argv, sys.path[0] = asked["argv"], ""


def run(asked: dict) -> int:
    """Do what was asked; the status to leave with, as Python itself would."""
    try:
        become(asked)
        if asked["code"] is None:
            main()
        else:
            exec(compile(asked["code"], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return left.code or 0
        sys.stderr.write(f"{left.code}\n")
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def leave(status: int) -> None:
    """Do what Python does at its end, but for taking every module apart: that would copy the memory
    that is shared with the process this one was forked from."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(status)


for name in IMPORTED:
    importlib.import_module(name)
gc.freeze()
for line in sys.stdin:
    process = os.fork()
    if process == 0:
        leave(run(json.loads(line)))
    _, status = os.waitpid(process, 0)
    sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
    sys.stdout.flush()
