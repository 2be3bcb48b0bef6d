"""The command as a user runs it: a process, its output, its exit status, its files."""

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from lora_files import make_lora
from shell import flux1
from synthetic import make_diffusers_folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    done = flux1(
        "generate", "a red fox — été", "-o", folder / "fox.png", "--model", "tiny", "--seed", 7,
        "--steps", 3, "--guidance", 2.5, "--solver", "heun", "--true-cfg", 2,
        "--negative-prompt", "blur", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_generate_writes_the_picture_and_reports_it(drawn):
    folder, report = drawn
    assert Image.open(folder / "fox.png").size == (64, 64)
    assert report["images"] == [{"file": str(folder / "fox.png"), "seed": 7, "request": 0}]
    assert report["requests"][0]["solver"] == "heun"
    assert {p.name for p in folder.iterdir()} == {"fox.png"}


def test_info_prints_the_whole_recipe_back(drawn):
    folder, report = drawn
    recipe = json.loads(flux1("info", folder / "fox.png", "--json").stdout)
    request = {k: v for k, v in report["requests"][0].items() if k != "num_images"}
    assert recipe == recipe | request
    assert recipe["model_hash"] == report["model_hash"]


def test_the_command_that_info_prints_draws_the_same_picture(drawn, tmp_path):
    folder, _ = drawn
    line = flux1("info", folder / "fox.png").stdout.split("again: ", 1)[1]
    command, *rest = shlex.split(line)[1:]
    again = flux1(command, "-o", tmp_path / "again.png", *rest)
    assert again.returncode == 0, again.stderr
    first, second = Image.open(folder / "fox.png"), Image.open(tmp_path / "again.png")
    assert first.tobytes() == second.tobytes()


def test_several_pictures_are_numbered_and_their_seeds_printed(tmp_path):
    done = flux1(
        "generate", "a fox", "-n", 2, "--seed", 5, "--steps", 1, "-m", "tiny",
        "-o", tmp_path / "fox.webp",
    )  # fmt: skip
    assert done.returncode == 0
    assert {p.name for p in tmp_path.iterdir()} == {"fox-0.webp", "fox-1.webp"}
    assert "seed 5" in done.stderr
    assert "seed 6" in done.stderr
    recipe = json.loads(flux1("info", tmp_path / "fox-1.webp", "--json").stdout)
    assert recipe["seed"] == 6


def test_quiet_prints_nothing(tmp_path):
    done = flux1("generate", "a fox", "--steps", 1, "-m", "tiny", "-q", "-o", tmp_path / "f.jpg")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Image.open(tmp_path / "f.jpg").format == "JPEG"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", ""], "prompt: is empty"),
        (["generate", "a fox", "--size", "100x64"], "multiple of 32, at most 8192; nearest: 96"),
        (["generate", "a fox", "--size", "big"], "size: 'big' is not WIDTHxHEIGHT"),
        (["generate", "a fox", "--size", "4096x4096"], "nearest: 512x512"),
        (["generate", "a fox", "--steps", "-3"], "steps: -3 is not from 1 to 1000; nearest: 1"),
        (["generate", "a fox", "-n", "0"], "num_images: 0 is not from 1 to 100"),
        (["generate", "a fox", "-n", "1000000000"], "num_images: 1000000000 is not from 1 to 100"),
        (["generate", "a fox", "--dtype", "float16", "-m", "tiny"], "dtype: 'float16' is not"),
        (["generate", "a fox", "--steps", "abc"], "--steps"),
        (["generate", "a fox", "--sed", "3"], "--sed"),
        (["generate"], "prompt: say what to draw"),
        (["generate", "a", "red", "fox"], 'are quotes missing? One prompt is "a red fox"'),
        (["generate", "--prompts", "nothing.txt"], "cannot read nothing.txt: No such file"),
        (["generate", "a fox", "-o", "{sed}.png"], "(did you mean 'seed'?)"),
        (["generat"], "generat"),
        (["generate", "a fox", "--size", "9" * 5000 + "x16"], "is not WIDTHxHEIGHT"),
        (["generate", "a fox", "-m", "a" * 5000], "cannot be read: File name too long"),
        (["generate", "a fox", "-o", "a" * 300 + ".png"], "File name too long"),
        (["generate", "a fox", "-m", "flux-dve"], "did you mean 'flux-dev'"),
        (["generate", "a fox", "-m", "flux-dev"], "huggingface.co/black-forest-labs/FLUX.1-dev"),
        (["generate", "a fox", "--solver", "eulr"], "did you mean 'euler'"),
        (["generate", "a fox", "--like", "comfy"], "did you mean 'comfyui'"),
        (["generate", "a fox", "--like", "comfyui"], "flux-mini has no T5"),
        (["generate", "a fox", "--like", "bfl", "--solver", "heun"], "take 'euler'"),
        (["generate", "a fox", "-o", "fox.gif"], "the suffix must be one of .png"),
        (["generate", "a fox", "-o", "/nowhere/fox.png"], "cannot write /nowhere/fox.png"),
        (["generate", "a fox", "-o", "."], "is a folder; name a file"),
        (["generate", "a fox", "--device", "cuda:9"], "device: cuda:9 is not on this machine"),
        (["info", "nothing.png"], "there is no nothing.png"),
        (["info", __file__], "is not a readable picture"),
        (["train", "flux-mnii"], "did you mean 'flux-mini'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_status_2(words, message, tmp_path):
    done = flux1(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_models_counts_the_published_parameters_and_tensors(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = {row["id"]: row for row in json.loads(flux1("models", "--json").stdout)}
    counts = {i: (rows[i]["parameters"], rows[i]["tensors"]) for i in rows}
    assert counts["flux-dev"] == (11_901_408_320, 780)
    assert counts["flux-schnell"] == (11_891_178_560, 776)
    assert rows["flux-dev"]["licence"]["commercial_use"] is False
    assert rows["flux-mini"]["weights"] == "shipped"
    shown = flux1("models").stdout
    assert "FLUX.1 [dev], 12 B" in shown
    assert "FLUX.1 [dev] Non-Commercial License" in shown


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    return make_diffusers_folder(tmp_path_factory.mktemp("models") / "flux-dev")


def test_weights_in_a_folder_draw_and_their_licence_is_said_once(synthetic, tmp_path, monkeypatch):
    monkeypatch.setenv("FLUX1_MODELS", str(synthetic.parent))
    done = flux1("generate", "a [/fox]", "--size", "64x64", "--steps", 1, "-m", "dev",
                 "-o", tmp_path / "fox [a].png")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("FLUX.1 [dev] Non-Commercial License") == 1
    assert str(synthetic) in done.stderr
    assert "a [/fox]" in flux1("info", tmp_path / "fox [a].png").stdout


def test_a_preset_is_kept_in_the_picture_and_drawn_again(synthetic, tmp_path):
    fields = ("--size", "64x64", "--steps", 2, "--seed", 3, "-m", synthetic)
    files = {like: tmp_path / f"{like}.png" for like in ("plain", "comfyui")}
    for like, file in files.items():
        more = () if like == "plain" else ("--like", like)
        assert flux1("generate", "a fox", *fields, "-o", file, *more).returncode == 0
    recipes = {name: json.loads(flux1("info", file, "--json").stdout)
               for name, file in files.items()}  # fmt: skip
    assert {name: recipe["like"] for name, recipe in recipes.items()} == {
        "plain": None, "comfyui": "comfyui"
    }  # fmt: skip
    line = flux1("info", files["comfyui"]).stdout.split("again: ", 1)[1]
    command, *rest = shlex.split(line)[1:]
    rest[rest.index("flux-dev")] = str(synthetic)
    assert flux1(command, "-o", tmp_path / "again.png", *rest).returncode == 0
    plain, like, again = (
        Image.open(file).tobytes() for file in (*files.values(), tmp_path / "again.png")
    )
    assert again == like != plain


def test_a_truncated_weight_file_is_one_line_and_status_2(synthetic, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(synthetic, broken)
    (file,) = (broken / "transformer").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    done = flux1("generate", "a fox", "-m", broken, "-o", tmp_path / "fox.png")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert file.name in done.stderr
    assert not (tmp_path / "fox.png").exists()


def test_several_prompts_are_drawn_in_one_call_and_no_picture_is_written_over(tmp_path):
    (tmp_path / "more.txt").write_text("\ufeffa cat\n\n  a dog \n", encoding="utf-8")
    (tmp_path / "flux1.png").write_text("kept")
    plain = ("generate", "-m", "tiny", "--steps", 1, "--seed", 2**64 - 2, "--json")
    several = flux1(*plain, "a fox", "--prompts", "more.txt", "-n", 2, cwd=tmp_path)
    alone = flux1(*plain, "a dog", cwd=tmp_path)
    report = json.loads(several.stdout)
    assert [one["prompt"] for one in report["requests"]] == ["a fox", "a cat", "a dog"]
    images = [(one["file"], one["seed"] - 2**64, one["request"]) for one in report["images"]]
    assert images == [(f"flux1-{k}.png", k % 2 - 2, k // 2) for k in range(6)]
    (last,) = json.loads(alone.stdout)["images"]
    assert last["file"] == "flux1-6.png"
    assert (tmp_path / "flux1.png").read_text() == "kept"
    together, single = (Image.open(tmp_path / f"flux1-{k}.png") for k in (4, 6))
    assert json.loads(flux1("info", tmp_path / "flux1-4.png", "--json").stdout)["prompt"] == "a dog"
    difference = np.asarray(together, np.int16) - np.asarray(single, np.int16)
    assert abs(difference).max() <= 1


def test_a_batch_that_cannot_be_written_whole_is_refused_before_drawing(tmp_path):
    (tmp_path / "m-1.png").mkdir()
    done = flux1("generate", "a fox", "-m", "tiny", "-n", 3, "-o", tmp_path / "m.png")
    assert done.returncode == 2
    assert "m-1.png is a folder" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["m-1.png"]


def test_a_prompt_too_long_for_jpeg_is_refused_before_drawing(tmp_path):
    done = flux1("generate", "🦊" * 30_000, "-m", "tiny", "-o", tmp_path / "fox.jpg")
    assert done.returncode == 2
    assert "JPEG cannot hold this picture and its recipe" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("generate", "a fox", "--size", "100x100"), ("generate", "a fox", "-o", "fox.gif"),
        ("generate", "a", "red", "fox"), ("generate", ""), ("plan", "draw", "--size", "100x64"),
        ("upscale", "nothing.png"), ("train", "lora", "--data", "x", "--full"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_request_is_refused_before_torch_is_imported(words):
    code = (
        "import sys, flux1.cli.main as cli\n"
        "try: cli.main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "2 False\n", done.stderr


def test_help_and_import_do_not_load_torch():
    code = "import sys, flux1, flux1.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    shown = flux1("generate", "--help")
    assert shown.returncode == 0
    assert "--negative-prompt" in shown.stdout


def test_every_command_and_option_stands_in_the_reference():
    page = (Path(__file__).parents[2] / "docs/reference/command-line.md").read_text()
    for name in ("generate", "info", "models", "train"):
        assert f"## flux1 {name}" in page
    for option in re.findall(r"(--[a-z-]+)", flux1("generate", "--help").stdout):
        assert option in page or option == "--help", option


def test_a_lora_is_told_drawn_and_kept_in_the_recipe(tmp_path):
    from flux1 import FluxPipeline

    tiny = FluxPipeline.from_pretrained("tiny").transformer
    made = make_lora("kohya", tiny.config, dict(tiny.state_dict()))
    save_file(made.tensors, tmp_path / "style.safetensors")
    plain = ("generate", "a fox", "-m", "tiny", "--seed", 1, "--steps", 1, "-o", "plain.png")
    styled = (*plain[:-1], "styled.png", "--lora", "style.safetensors:0.5")
    done = flux1(*plain, cwd=tmp_path), flux1(*styled, cwd=tmp_path)
    assert [one.returncode for one in done] == [0, 0], done[1].stderr
    told = "style.safetensors: kohya LoRA, rank 4, 23 modules touched, 3 keys for text encoders"
    assert told in done[1].stderr
    first, second = (Image.open(tmp_path / f"{name}.png") for name in ("plain", "styled"))
    assert first.tobytes() != second.tobytes()
    recipe = json.loads(flux1("info", tmp_path / "styled.png", "--json").stdout)
    digest = hashlib.sha256((tmp_path / "style.safetensors").read_bytes()).hexdigest()
    assert recipe["loras"] == [{"name": "style.safetensors", "scale": 0.5, "sha256": digest[:12]}]
    line = flux1("info", tmp_path / "styled.png").stdout.split("again: ", 1)[1]
    command, *rest = shlex.split(line)[1:]
    assert flux1(command, "-o", "again.png", *rest, cwd=tmp_path).returncode == 0
    assert Image.open(tmp_path / "again.png").tobytes() == second.tobytes()


def test_a_lora_for_another_model_is_one_line_and_status_2(tmp_path):
    import torch

    name = "lora_unet_input_blocks_4_1_proj_in"
    parts = {
        f"{name}.lora_down.weight": torch.ones(1, 4),
        f"{name}.lora_up.weight": torch.ones(4, 1),
    }
    save_file(parts, tmp_path / "sdxl.safetensors")
    done = flux1("generate", "a fox", "-m", "tiny", "--lora", tmp_path / "sdxl.safetensors")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "sdxl.safetensors: for Stable Diffusion 1, 2 or XL, not for FLUX.1"
    )
