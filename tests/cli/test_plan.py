"""`flux1 plan` and `flux1 generate --memory` as a user runs them."""

import json

import pytest
from PIL import Image

from flux1.pipeline.memory import parse_bytes
from shell import flux1, peak_of_flux1
from synthetic import make_diffusers_folder
from training.folders import picture_folder


def test_a_model_that_is_not_here_is_planned_by_its_published_size():
    asked = ("plan", "draw", "--model", "flux-dev", "--vram", "12GB", "--ram", "32GB")
    report = json.loads(flux1(*asked, "--tflops", 60, "--json").stdout)
    assert (report["model"], report["files"]) == ("flux-dev", False)
    assert (report["width"], report["ram"], report["vram"]) == (1024, 32 * 10**9, 12 * 10**9)
    ways = report["placements"]
    assert {placement["device"] for placement in ways} == {"cpu", "cuda"}
    lacking = [bool(placement["lacks"]) for placement in ways]
    assert lacking == sorted(lacking)
    assert not all(lacking)
    for placement in ways:
        fits = placement["ram"] <= 32 * 10**9 and (placement["vram"] or 0) <= 12 * 10**9
        assert fits is not bool(placement["lacks"])
    on_card = [
        placement
        for placement in ways
        if placement["device"] == "cuda" and placement["quantize"] is None
    ]
    card = next(placement for placement in on_card if placement["keep"] == "plain")
    assert (card["lacks"], card["dtype"]) == ("vram", "bfloat16")
    assert card["step_s"] == pytest.approx(74.4 / 60, rel=0.01)  # TFLOP, over what was given
    assert card["total_s"] is None  # no file here whose disk could be tried
    shown = flux1(*asked).stdout
    assert "its files are not here" in shown
    assert shown.count("vram") >= 2
    assert "GFLOP/s" in shown


def test_a_model_that_is_here_is_timed_on_its_files(tmp_path):
    folder = make_diffusers_folder(tmp_path / "flux-dev")
    report = json.loads(
        flux1("plan", "draw", "-m", folder, "--vram", "none", "--size", "64x64", "--json").stdout
    )
    assert report["files"]
    assert report["vram"] is None
    first = report["placements"][0]
    assert first["lacks"] == ""
    assert 0 < first["step_s"] < first["total_s"]
    assert all(speed["flops"] > 0 and speed["disk"] > 0 for speed in report["rates"])


@pytest.mark.parametrize(("words", "message"), [
    (["plan", "draw", "-m", "flux-dev", "--ram", "1GB", "--vram", "none"],
     "1.00 GB of memory is too little for flux-dev at 1024x1024; the least that does is "),
    (["plan", "draw", "-m", "flux-dev", "--ram", "64MB", "--vram", "1GB"],
     "the least that does is "),
    (["plan", "draw", "--ram", "lots"], "ram: 'lots' is not an amount of memory; for example 6GB"),
    (["plan", "draw", "--vram", "12 apples"], "vram: '12 apples' is not an amount of memory"),
    (["plan", "draw", "--size", "100x64"], "multiple of 32, at most 8192; nearest: 96"),
    (["plan", "draw", "--tflops", "-3"], "tflops: -3 is not above 0; for example 80"),
    (["plan", "draw", "-m", "flux-dve"], "did you mean 'flux-dev'"),
    (["plan", "draw", "-m", "nothing.safetensors"], "nothing.safetensors: no such file"),
    (["plan", "train", "--rank", "999"], "rank: 999 is above the width of "),
    (["plan", "train", "--size", "64x64"], "No such option: --size"),
    (["plan", "train", "--ram", "300MB"], "300 MB of memory is too little to train flux-mini so"),
    (["plan", "train", "--resolution", "9"], "9 is not from 128 to 512; nearest: 128"),
    (["plan", "train", "--full", "--rank", "8"], "rank: 8 has no effect when all weights are"),
    (["plan", "--rank", "8", "--train"], "plan: this is now: flux1 plan train --rank 8"),
    (["plan", "-m", "flux-dev"], "plan: this is now: flux1 plan draw -m flux-dev"),
    (["generate", "a fox", "--memory", "3 apples"], "memory: '3 apples' is not an amount"),
    (["generate", "a fox", "--memory", "10MB"], "10 MB of memory is too little for flux-mini"),
    (["generate", "a fox", "-m", "tiny", "--memory", ""], "memory: '' is not an amount of memory"),
])  # fmt: skip
def test_bad_input_is_one_line_and_status_2(words, message, tmp_path):
    done = flux1(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_the_least_that_is_named_does(tmp_path):
    told = flux1("generate", "a fox", "-m", "tiny", "--memory", "1MB", cwd=tmp_path).stderr
    least = told.strip().rsplit("is ", 1)[1]
    done = flux1(
        "generate", "a fox", "-m", "tiny", "--seed", 1, "--memory", least, "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert 0 < report["peak_bytes"]["memory"] <= parse_bytes("memory", least)
    plain = flux1("generate", "a fox", "-m", "tiny", "--seed", 1, "-o", "plain.png", cwd=tmp_path)
    assert "at most " in plain.stderr
    first, second = (Image.open(tmp_path / name) for name in ("flux1.png", "plain.png"))
    assert first.tobytes() == second.tobytes()


@pytest.mark.slow
def test_training_is_planned_beside_what_it_then_takes(tmp_path):
    """On the CPU: the peak of a real run as the system saw it."""
    report = json.loads(flux1("plan", "train", "--vram", "none", "--json").stdout)
    assert (report["model"], report["processes"], report["vram"]) == ("flux-mini", 1, None)
    placement = report["placements"][0]
    assert (
        placement["lacks"],
        placement["gradient_checkpointing"],
        placement["settings"]["rank"],
    ) == ("", False, 16)
    data = picture_folder(tmp_path / "data", 3, [(256, 256)])
    taken = peak_of_flux1("train", "lora", "--data", data, "--out", tmp_path / "out", "--steps", 2)
    assert 0.6 <= taken / placement["ram"] <= 1.1
    kept = (tmp_path / "out" / "checkpoint.pt").stat().st_size
    assert 1 <= kept / report["checkpoint"] <= 1.1


def test_training_a_model_that_is_not_here_is_planned_too():
    asked = ("plan", "train", "-m", "flux-dev", "--vram", "24GB", "--ram", "64GB", "--tflops", 60)
    report = json.loads(flux1(*asked, "--batch-size", 1, "--resolution", 512, "--json").stdout)
    fitting = [
        placement
        for placement in report["placements"]
        if placement["device"] == "cuda" and not placement["lacks"]
    ]
    assert all(placement["vram"] <= 24 * 10**9 for placement in fitting)
    assert any(placement["settings"]["quantize"] == "int8" for placement in fitting)
    shown = flux1(*asked).stdout
    assert "its files are not here" in shown
    assert "--quantize int8" in shown
    assert "a checkpoint" in shown
