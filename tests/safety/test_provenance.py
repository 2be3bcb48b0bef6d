"""Recipes survive in files, and files are whole or absent."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from flux1.errors import OutputError
from flux1.safety.provenance import (
    LoraRecord,
    Recipe,
    check_writable,
    encode_picture,
    format_for,
    parse_recipe,
    read_recipe,
    write_picture,
)

RECIPE = Recipe(
    prompt='a "red" fox\nété 狐 🦊', negative_prompt="", model="tiny", model_hash="0123456789ab",
    width=32, height=16, steps=4, guidance=3.5, true_cfg=1.0, solver="euler", seed=2**40,
    device="cpu", dtype="float32", version="0.1.0",
    loras=(LoraRecord("a.safetensors", 0.8, "0123456789ab"), LoraRecord("b", -1.0, "ab")),
    like="bfl",
)  # fmt: skip


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".PNG"])
def test_the_recipe_comes_back_from_every_format(picture, tmp_path, suffix):
    path = tmp_path / f"fox{suffix}"
    write_picture(path, encode_picture(picture, RECIPE, format_for(path)))
    assert read_recipe(path) == RECIPE
    with Image.open(path) as opened:
        assert opened.size == (32, 16)
        assert "AI generated" in opened.getexif()[ExifTags.Base.Software]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_the_recipe_comes_back_from_bytes(picture, format):
    assert parse_recipe(encode_picture(picture, RECIPE, format)) == RECIPE


@pytest.mark.parametrize(
    "data", [b"", b"rubbish", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF"]
)
def test_bytes_that_are_no_picture_are_one_clear_line(data):
    with pytest.raises(OutputError, match="file: this is not a readable picture") as caught:
        parse_recipe(data)
    assert "\n" not in str(caught.value)
    assert " at 0x" not in str(caught.value)


def test_a_recipe_from_before_there_were_presets_is_read(picture):
    kept = {k: v for k, v in asdict(RECIPE).items() if k not in ("like", "loras")}
    chunks, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    chunks.add_itxt("flux1", json.dumps(kept))
    picture.save(buffer, "PNG", pnginfo=chunks)
    assert parse_recipe(buffer.getvalue()) == replace(RECIPE, like=None, loras=())


def test_bytes_without_a_recipe_say_so(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    with pytest.raises(OutputError, match="file: this holds no flux1 recipe"):
        parse_recipe(buffer.getvalue())


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_quality_trades_bytes_for_likeness(picture, format):
    """Grey noise, so that every step up costs bytes and brings the pixels nearer."""
    picture = picture.convert("L").convert("RGB")
    whole = np.asarray(picture, float)
    sizes, errors = [], []
    for quality in (0, 25, 50, 95, 100):
        data = encode_picture(picture, RECIPE, format, quality)
        assert parse_recipe(data) == RECIPE
        sizes.append(len(data))
        errors.append(np.abs(np.asarray(Image.open(io.BytesIO(data)), float) - whole).mean())
    assert sizes == sorted(set(sizes))
    assert errors == sorted(set(errors), reverse=True)
    assert encode_picture(picture, RECIPE, format) == encode_picture(picture, RECIPE, format, 95)


def test_a_quality_that_cannot_be_is_refused(picture):
    with pytest.raises(OutputError, match="quality: 101 is not from 0 to 100; nearest: 100"):
        encode_picture(picture, RECIPE, "JPEG", 101)
    with pytest.raises(OutputError, match="quality: -1 is not from 0 to 100; nearest: 0"):
        encode_picture(picture, RECIPE, "WEBP", -1)
    with pytest.raises(OutputError, match="quality: 50 has no effect on PNG"):
        encode_picture(picture, RECIPE, "PNG", 50)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_threads_may_write_one_picture_with_different_recipes(picture, format):
    recipes = [replace(RECIPE, seed=seed) for seed in range(64)]
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda recipe: encode_picture(picture, recipe, format), recipes))
    assert [parse_recipe(data) for data in written] == recipes


def test_png_keeps_every_pixel(picture, tmp_path):
    write_picture(tmp_path / "fox.png", encode_picture(picture, RECIPE, "PNG"))
    assert Image.open(tmp_path / "fox.png").tobytes() == picture.tobytes()


def test_a_picture_without_a_recipe_says_so(picture, tmp_path):
    picture.save(tmp_path / "plain.png")
    with pytest.raises(OutputError, match="holds no flux1 recipe"):
        read_recipe(tmp_path / "plain.png")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"prompt": null}', "[]", "3", "not json"])
def test_a_foreign_recipe_is_one_clear_line(picture, tmp_path, text):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("flux1", text)
    picture.save(tmp_path / "foreign.png", pnginfo=chunks)
    with pytest.raises(OutputError, match="holds no flux1 recipe"):
        read_recipe(tmp_path / "foreign.png")


def test_a_link_is_followed_and_an_interrupted_write_leaves_no_scrap(picture, tmp_path):
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    write_picture(tmp_path / "link.png", encode_picture(picture, RECIPE, "PNG"))
    assert (tmp_path / "link.png").is_symlink()
    assert read_recipe(tmp_path / "real.png") == RECIPE

    with pytest.raises(TypeError):  # whatever goes wrong in the middle
        write_picture(tmp_path / "real.png", None)
    assert {p.name for p in tmp_path.iterdir()} == {"real.png", "link.png"}


def test_a_truncated_picture_is_one_clear_line(picture, tmp_path):
    data = encode_picture(picture, RECIPE, "PNG")
    for end in (0, 5, 40):  # the recipe stands before the pixels
        (tmp_path / "cut.png").write_bytes(data[:end])
        with pytest.raises(OutputError) as caught:
            read_recipe(tmp_path / "cut.png")
        assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_picture_and_no_scrap(picture, tmp_path):
    folder = tmp_path / "gone"
    with pytest.raises(OutputError, match="cannot write"):
        write_picture(folder / "fox.png", b"x")
    with pytest.raises(OutputError, match="cannot write"):
        check_writable(folder / "fox.png")
    assert list(tmp_path.iterdir()) == []


def test_unknown_suffixes_name_the_known_ones(tmp_path):
    with pytest.raises(OutputError, match=r"must be one of \.png, \.jpg, \.jpeg, \.webp"):
        format_for(tmp_path / "fox.gif")
