"""Jobs that were accepted end once, though the server is killed. More: benchmarks/crash.py."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "crash.py"


def test_accepted_jobs_end_exactly_once_though_the_server_is_killed():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--kills", "1", "--jobs", "10"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["succeeded"] == report["images billed"] == 10
