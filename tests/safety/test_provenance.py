"""Recipes survive in files, and files are whole or absent."""

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from flux1.errors import OutputError
from flux1.safety.provenance import (
    Recipe,
    check_writable,
    encode_picture,
    format_for,
    read_recipe,
    write_picture,
)

RECIPE = Recipe(
    prompt='a "red" fox\nété 狐 🦊', negative_prompt="", model="tiny", model_hash="0123456789ab",
    width=32, height=16, steps=4, guidance=3.5, true_cfg=1.0, solver="euler", seed=2**40,
    device="cpu", dtype="float32", version="0.1.0",
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
