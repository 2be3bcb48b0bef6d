"""The ONNX benchmarks, in their smallest run."""

import sys

import pytest

import onnx_full_size
import onnx_runtime
from benchmark_results import written


def test_graphs_are_the_networks(tmp_path):
    onnx_runtime.main(
        model="tiny", parts="parity,velocity,speed", dtypes="fp32,int8", rounds=1, out=tmp_path
    )
    figures = written(tmp_path, "onnx")
    parity = figures["parity"]
    assert max(parity["components"]["fp32"].values()) < 1e-4
    assert parity["pictures"]["fp32"]["largest"] <= 1
    assert 0 < figures["velocity"]["int8"]["mean"] <= figures["velocity"]["int8"]["worst"] < 0.2
    for component in ("transformer", "vae"):
        assert {"torch", "fp32", "int8"} < set(figures["speed"][component])


@pytest.mark.slow
def test_processes_draw_and_export(tmp_path):
    onnx_runtime.main(model="tiny", parts="cold,export", dtypes="fp32", rounds=1, out=tmp_path)
    figures = written(tmp_path, "onnx")
    assert {"torch", "fp32"} == set(figures["cold"])
    for found in figures["export"].values():
        assert found["bytes"] == sum(found["files"].values()) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="holes in files are Linux'")
def test_the_real_layouts_range_of_blocks_is_torchs(tmp_path):
    onnx_full_size.main(tmp_path / "graph", double=2, single=2, width=256, out=tmp_path)
    figures = written(tmp_path, "onnx-full-size")
    assert figures["blocks"] == [2, 2]
    assert figures["bytes"] >= 4 * figures["numbers"]
    assert figures["bytes_on_disk"] < figures["bytes"]
    assert figures["range"]["largest"] <= 1e-4 * figures["range"]["scale"]
