"""The upscaler's benchmark, in its smallest run."""

import upscale
from benchmark_results import written


def test_both_runtimes_are_timed_and_agree(tmp_path):
    upscale.main(side=32, rounds=1, out=tmp_path)
    figures = written(tmp_path, "upscale")
    assert set(figures["times"]) == {"torch x4", "onnx x4", "torch x2", "onnx x2"}
    assert all(times["least_ms"] > 0 for times in figures["times"].values())
    assert figures["largest_difference_in_levels"] <= 1
