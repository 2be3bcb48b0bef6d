"""What all benchmarks share says what was."""

import sys

import pytest

from measure.processes import run_python, summary
from measure.results import Table
from measure.turns import Times, paired_median, take_turns


def test_sides_take_turns_and_the_first_rounds_are_not_counted():
    called: list[str] = []
    times = take_turns({side: lambda side=side: called.append(side) for side in "ab"}, 3, warm=1)
    assert called == ["a", "b"] * 4
    assert [len(times[side].clock) for side in "ab"] == [3, 3]
    assert [len(times[side].cpu) for side in "ab"] == [3, 3]


def test_a_round_that_was_slow_for_both_does_not_count_for_either():
    assert paired_median([1, 100, 3], [2, 200, 6]) == 0.5
    with pytest.raises(ValueError, match="shorter"):
        paired_median([1, 2], [1])


def test_milliseconds_are_the_least_and_the_median():
    times = Times(clock=[0.003, 0.001, 0.002], cpu=[0.004, 0.006, 0.005])
    assert times.milliseconds() == pytest.approx(
        {"least_ms": 1, "median_ms": 2, "least_cpu_ms": 4, "median_cpu_ms": 5}
    )


def test_a_process_is_measured_by_what_the_system_says_of_it(tmp_path):
    held = run_python("-c", "held = bytearray(200 * 2**20); print(len(held))", cwd=tmp_path)
    bare = run_python("-c", "import os; print(os.getcwd())", cwd=tmp_path)
    assert held.output == f"{200 * 2**20}\n"
    assert bare.output == f"{tmp_path}\n"
    if sys.platform == "linux":
        assert held.peak_mib - bare.peak_mib == pytest.approx(200, abs=10)
    found = summary([held, bare])
    assert found["runs"] == 2
    assert found["peak_mib"] == round(held.peak_mib, 3)
    assert found["least_wall_s"] == round(min(held.wall_s, bare.wall_s), 3)


def test_a_process_that_fails_says_what_it_said():
    with pytest.raises(RuntimeError, match=r"(?s)ended with 1.*the fox is out"):
        run_python("-c", "raise SystemExit('the fox is out')")


def test_a_wide_table_is_turned_over_in_a_terminal(capsys: pytest.CaptureFixture[str]):
    wide = Table("title", ("model", "a", "b"), (("FLUX.1 [dev]", "1", "2"),), "[note]")
    wide.show()
    shown = [line.strip("│┃ ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["model", "┃", "FLUX.1", "[dev]"] in shown
    assert ["a", "│", "1"] in shown
    assert ["[note]"] in shown
    assert wide.markdown() == (
        "title\n\n| model | a | b |\n| --- | --- | --- |\n| FLUX.1 [dev] | 1 | 2 |\n\n[note]\n"
    )
