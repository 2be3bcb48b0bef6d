"""The script that makes, draws and converts a FLUX.1 of the real size, on a tiny one."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

import full_size
from benchmark_results import written
from flux1.weights.inspect import inspect

LINUX = full_size.Path("/proc/self/io").exists()


def call(*words):
    done = CliRunner().invoke(full_size.app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tiny") / "model"
    assert "GB will be written" in call("make", place, "--scale", "tiny")
    return place


def test_at_full_size_it_is_the_published_model(tmp_path):
    sizes = {
        part.file.relative_to(tmp_path).as_posix(): part.bytes
        for part in full_size.parts_of(tmp_path, full_size.SCALES["full"])
    }
    assert sizes == {
        "flux1-dev.safetensors": 2 * 11_901_408_320,
        "ae.safetensors": 4 * 83_819_683,
        "text_encoder/model.safetensors": 2 * 123_060_480,
        "text_encoder_2/model.safetensors": 2 * 4_762_310_656,
    }


def test_every_part_is_recognised_and_whole(folder):
    networks = [network for report in inspect(folder) for network in report.networks]
    assert {network.kind for network in networks} == {"transformer", "autoencoder", "clip", "t5"}
    assert not [network for network in networks if network.missing or network.unknown]


def test_no_row_of_a_matrix_larger_than_the_block_repeats_another():
    weights = full_size.Weights(0)
    drawn = weights.draw("lin.weight", (2100, 2200), torch.float32)
    assert drawn.numel() > full_size.BLOCK
    assert drawn.std().item() == pytest.approx(math.sqrt(1 / 2200), rel=0.01)
    assert len({row.numpy().tobytes() for row in drawn}) == len(drawn)
    norm = weights.draw("norm.scale", (64,), torch.float32)
    assert norm.mean().item() == pytest.approx(1, abs=0.1)


@pytest.fixture(scope="module")
def converted(folder, tmp_path_factory):
    """What converting to Q4_0 took; the file lies in the folder."""
    out = tmp_path_factory.mktemp("converted")
    call("convert", folder, "--out", out)
    return written(out, "full-size-convert")


def test_it_is_converted(folder, converted):
    assert (folder / "Q4_0.gguf").stat().st_size > converted["written"]["bytes"]
    assert converted["written"]["tensors"]["Q4_0"] > 0
    if LINUX:
        assert 0 < converted["peak_own_mib"] < converted["peak_mib"]


@pytest.mark.usefixtures("converted")
@pytest.mark.parametrize("name", ["Q4_0.gguf", pytest.param("", marks=pytest.mark.slow)])
def test_both_are_drawn(folder, tmp_path, name):
    call("draw", folder / name, "--size", "64x64", "--steps", 3, "--out", tmp_path,
         "--dtype", "bfloat16", "--solver", "euler")  # fmt: skip
    drawn = written(tmp_path, "full-size-draw")
    assert drawn["options"] == ["--dtype", "bfloat16", "--solver", "euler"]
    assert drawn["file"]["name"] == (name or "flux1-dev.safetensors")
    assert 0 < drawn["seconds_per_step"] < drawn["seconds"]
    assert drawn["read_once_s"] > 0
    if LINUX:
        assert 0 < drawn["peak_own_mib"] < drawn["peak_mib"] < 8000
    assert str(folder) not in json.dumps(drawn)  # nothing of this machine's folders


def test_without_room_nothing_is_written(tmp_path, monkeypatch):
    left = SimpleNamespace(free=1000)
    monkeypatch.setattr("flux1.weights.files.disk.shutil.disk_usage", lambda _: left)
    done = CliRunner().invoke(full_size.app, ["make", str(tmp_path / "x"), "--scale", "tiny"])
    assert done.exit_code == 2
    assert "needs 0.00107 GB, its disk has 1e-06 GB left" in done.output
    assert list(tmp_path.iterdir()) == []


def test_what_fails_is_said(folder, tmp_path):
    done = CliRunner().invoke(full_size.app, ["draw", str(folder), "--out",
                              str(tmp_path), "--solver", "eulr"])  # fmt: skip
    assert done.exit_code == 1
    assert "did you mean 'euler'" in done.output
    assert not list(tmp_path.iterdir())
