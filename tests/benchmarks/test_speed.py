"""The speed benchmark's smallest run: both sides compute the same, in turns."""

import pytest

import speed
from benchmark_results import written


def test_both_sides_compute_the_same_in_turns(tmp_path):
    speed.main(parts="blocks,mini", rounds=3, scale="tiny", out=tmp_path)
    duels = written(tmp_path, "speed")["duels"]
    assert [one["difference"] for one in duels[:2]] == pytest.approx([0, 0], abs=1e-5)
    assert max(one["difference"] for one in duels[2:]) <= 1 / 255  # of the picture's levels
    for one in duels:
        assert len(one["ours"]) == len(one["theirs"]) == 3
        shares = sorted(a / b for a, b in zip(one["ours"], one["theirs"], strict=True))
        assert one["median_of_ratios"] == shares[1]


@pytest.mark.slow
def test_cold_processes_are_measured(tmp_path):
    speed.main(parts="cold", rounds=1, scale="tiny", out=tmp_path)
    drawn, peak, *small = written(tmp_path, "speed")["duels"]
    assert (drawn["unit"], peak["unit"]) == ("s", "MiB")
    assert min(peak["ours"] + peak["theirs"]) > 100  # both hold torch
    assert [len(one["ours"]) for one in (drawn, *small)] == [1, 1, 1]
