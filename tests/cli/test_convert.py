"""`flux1 convert` as a user runs it."""

import json
import re
import signal
from pathlib import Path

import pytest

from shell import flux1, python

REFERENCE = Path(__file__).parents[2] / "docs/reference/command-line.md"


def test_a_model_by_name_to_gguf_and_what_inspect_says_of_it(tmp_path):
    file = tmp_path / "mini.gguf"
    done = flux1("convert", "flux-mini", file, "--to", "gguf", "--dtype", "q8_0", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["files"], report["parts"]) == ([str(file)], ["transformer"])
    assert report["tensors"]["Q8_0"] > 40
    (told,) = json.loads(flux1("inspect", file, "--json").stdout)
    (network,) = told["networks"]
    assert network["what"].startswith("flux-mini")
    assert (network["missing"], network["unknown"]) == ([], [])
    assert {kind: kept["tensors"] for kind, kept in told["dtypes"].items()} == report["tensors"]
    again = flux1("convert", "flux-mini", file, "--to", "gguf")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == f"flux1: {file}: is there already; --overwrite writes over it\n"


@pytest.mark.parametrize("command", ["convert", "download"])
def test_every_option_stands_in_the_reference(command):
    section = REFERENCE.read_text().split(f"## flux1 {command}\n")[1].split("\n## ")[0]
    options = set(re.findall(r"(--[a-z-]+)", flux1(command, "--help").stdout)) - {"--help"}
    assert options
    assert [option for option in options if option not in section] == []


def test_sigterm_leaves_nothing_half_written(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; "
        "from flux1.cli.main import leave_on_sigterm; "
        "from flux1.weights.convert import plan_conversion; leave_on_sigterm(); "
        "plan = plan_conversion('flux-mini', Path(sys.argv[1]), 'bfl', part='transformer'); "
        "plan.write(lambda size: os.kill(os.getpid(), signal.SIGTERM))"
    )
    done = python(code, tmp_path / "out.safetensors")
    assert done.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
