"""`flux1 export onnx` and `flux1 generate --runtime onnx`, as a user runs them."""

import json

import pytest
from PIL import Image

from graphs import exported
from shell import flux1


def test_export_reports_what_it_wrote_and_the_folder_draws(tmp_path):
    done = flux1("export", "onnx", "--model", "tiny", "--out", tmp_path / "tiny", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["model"], report["dtype"], report["opset"]) == ("tiny", "fp32", 20)
    sizes = {name: (tmp_path / "tiny" / name).stat().st_size for name in report["files"]}
    assert sizes == report["files"]

    drawn = flux1(
        "generate", "a fox", "--runtime", "onnx", "-m", tmp_path / "tiny", "--seed", 4, "-n", 2,
        "-o", tmp_path / "fox.png", "--json",
    )  # fmt: skip
    assert drawn.returncode == 0, drawn.stderr
    told = json.loads(drawn.stdout)
    assert told["model_hash"] == report["model_hash"]
    assert [image["seed"] for image in told["images"]] == [4, 5]
    assert Image.open(tmp_path / "fox-1.png").size == (64, 64)

    recipe = json.loads(flux1("info", tmp_path / "fox-1.png", "--json").stdout)
    kept = ("runtime", "device", "dtype", "model", "model_hash", "seed")
    assert [recipe[key] for key in kept] == [
        "onnx", "cpu", "float32", "tiny", report["model_hash"], 5,
    ]  # fmt: skip
    again = flux1("info", tmp_path / "fox-1.png").stdout.split("again: ")[1]
    assert again.startswith("flux1 generate --model tiny --runtime onnx --size 64x64 ")
    assert "--dtype" not in again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--runtime", "tensorrt"], "runtime: 'tensorrt' is none of torch, onnx"),
        (["--provider", "cuda"], "provider: 'cuda' is ONNX Runtime's; add --runtime onnx"),
        (["--runtime", "onnx", "--device", "cpu"], "device: 'cpu' has no effect"),
        (["--runtime", "onnx", "--dtype", "bfloat16"], "dtype: 'bfloat16' has no effect"),
        (["--runtime", "onnx"], "make one: flux1 export onnx --model flux-mini"),
        (["--runtime", "onnx", "-m", "TINY", "--provider", "abacus"], "here: "),
        (["--runtime", "onnx", "-m", "TINY", "--lora", "x.safetensors"], "loras: do not go into"),
    ],
)
def test_generate_says_in_one_line_what_cannot_be(words, message, tmp_path):
    words = [exported("tiny") if word == "TINY" else word for word in words]
    done = flux1("generate", "a fox", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert message in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "x", "--model", "flux-nini"], "did you mean 'flux-mini'"),
        (["--out", "x", "--model", "tiny", "--dtype", "q8"], "dtype: 'q8' is none of"),
        (["--model", "tiny"], "--out"),
    ],
)
def test_export_says_in_one_line_what_cannot_be(words, message, tmp_path):
    done = flux1("export", "onnx", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []
