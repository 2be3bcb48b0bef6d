"""Rates of this machine: that they are of what is said, not how high they are."""

import os

import pytest
import torch

from flux1.errors import WeightsError
from flux1.pipeline.device_speed import measure
from flux1.variants import FLUX_MINI, TINY
from flux1.weights.files.reading import READ, decode_rate, disk_rate, fastest
from flux1.weights.files.safetensors import write_tensors
from flux1.weights.sources import locate

CPU = torch.device("cpu")


def test_the_fastest_of_several_tries_counts():
    calls = []
    assert fastest(lambda: calls.append(None), CPU) > 0
    assert len(calls) > 2


def test_a_files_matrices_are_decoded_and_its_bytes_read(tmp_path):
    state = {"a.weight": torch.randn(64, 96).bfloat16(), "a.bias": torch.randn(64)}
    write_tensors(tmp_path / "a.safetensors", state)
    assert decode_rate(tmp_path / "a.safetensors", torch.float32, CPU) > 0
    speed = disk_rate(tmp_path / "a.safetensors")
    assert (speed is None) is not hasattr(os, "posix_fadvise")


def test_the_disk_is_tried_on_a_part_of_a_file_in_its_middle(tmp_path, monkeypatch):
    file = tmp_path / "large.safetensors"
    with file.open("wb") as stream:
        stream.truncate(3 * READ)
    asked = []
    read = os.pread
    monkeypatch.setattr(
        os, "pread", lambda number, size, at: asked.append(at) or read(number, size, at)
    )
    assert disk_rate(file) > 0
    assert (min(asked), max(asked) + 2**23) == (READ, 2 * READ)


def test_a_file_without_a_matrix_is_named(tmp_path):
    write_tensors(tmp_path / "a.safetensors", {"a.bias": torch.randn(64)})
    with pytest.raises(WeightsError, match=r"a\.safetensors: holds no matrix"):
        decode_rate(tmp_path / "a.safetensors", torch.float32, CPU)


@pytest.mark.parametrize("quantize", [None, "int8_dynamic"])
def test_a_machine_is_measured_with_and_without_files(quantize):
    here = measure(locate(FLUX_MINI), CPU, torch.float32, quantize)
    assert here.flops > 1e8
    assert here.unpacked > 1e6
    for without in (None, locate(TINY)):
        assert measure(without, CPU, torch.float32, quantize).disk is None
