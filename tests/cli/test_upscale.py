"""`--upscale` and `flux1 upscale`: the same pixels, the recipe inside, odd files."""

import json
import shlex

import numpy as np
import pytest
from PIL import ExifTags, Image

from flux1.cli.main import app
from flux1.errors import Flux1Error
from shell import flux1


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A picture, and the same one drawn with --upscale 2."""
    folder = tmp_path_factory.mktemp("drawn")
    for name, more in {"small": (), "large": ("--upscale", 2)}.items():
        done = flux1("generate", "a fox", "-m", "tiny", "--seed", 1, "--steps", 1,
                     "-o", folder / f"{name}.png", *more)  # fmt: skip
        assert done.returncode == 0, done.stderr
    return folder


def run(*words):
    """A command in this process; what it says of a bad picture."""
    try:
        app([str(word) for word in words], standalone_mode=False)
    except Flux1Error as error:
        return str(error)
    return ""


def test_a_picture_that_is_enlarged_later_is_the_same_file(drawn, tmp_path):
    assert run("upscale", drawn / "small.png", "-o", tmp_path / "x.png", "--scale", 2) == ""
    assert (tmp_path / "x.png").read_bytes() == (drawn / "large.png").read_bytes()
    assert Image.open(tmp_path / "x.png").size == (128, 128)


def test_the_command_that_info_prints_draws_the_same_bytes(drawn, tmp_path):
    line = flux1("info", drawn / "large.png").stdout.split("again: ", 1)[1]
    command, *rest = shlex.split(line)[1:]
    assert rest[rest.index("--upscale") + 1] == "2"
    assert flux1(command, "-o", tmp_path / "again.png", *rest).returncode == 0
    assert (tmp_path / "again.png").read_bytes() == (drawn / "large.png").read_bytes()


def test_what_was_enlarged_before_keeps_no_recipe_but_its_mark(drawn, tmp_path, capsys):
    assert run("upscale", drawn / "large.png", "-o", tmp_path / "x.webp", "--json") == ""
    told = json.loads(capsys.readouterr().out)
    assert told == {"file": str(tmp_path / "x.webp"), "width": 512, "height": 512}
    assert "holds no flux1 recipe" in run("info", tmp_path / "x.webp")
    mark = Image.open(tmp_path / "x.webp").getexif()[ExifTags.Base.Software]
    assert "AI generated" in mark


def test_no_file_is_written_over_unasked(drawn, tmp_path):
    file = tmp_path / "small.png"
    file.write_bytes((drawn / "small.png").read_bytes())
    assert run("upscale", file) == ""
    assert "small-x4.png is there already; --overwrite writes over it" in run("upscale", file)
    assert run("upscale", file, "--overwrite", "-q") == ""


def odd(folder, name):
    """Pictures as people have them, 6 wide and 4 high when upright."""
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    picture, file = Image.fromarray(colours), folder / f"{name}.png"
    match name:
        case "grey":
            picture.convert("L").save(file)
        case "palette":
            picture.quantize(8).save(file)
        case "clear palette":
            picture.quantize(8).save(file, transparency=0)
        case "clear":
            picture.putalpha(100)
            picture.save(file)
        case "turned":
            exif = Image.Exif()
            exif[ExifTags.Base.Orientation] = 6
            picture.transpose(Image.Transpose.ROTATE_90).save(file, exif=exif)
        case "profiled":
            picture.save(file, icc_profile=b"a profile")
        case "one pixel":
            picture.crop((0, 0, 1, 1)).save(file)
    return file


@pytest.mark.parametrize(
    ("name", "size", "mode"),
    [
        ("grey", (24, 16), "RGB"), ("palette", (24, 16), "RGB"), ("turned", (24, 16), "RGB"),
        ("clear palette", (24, 16), "RGBA"), ("clear", (24, 16), "RGBA"),
        ("profiled", (24, 16), "RGB"), ("one pixel", (4, 4), "RGB"),
    ],
)  # fmt: skip
def test_odd_pictures_are_enlarged(name, size, mode, tmp_path):
    assert run("upscale", odd(tmp_path, name), "-o", tmp_path / "out.png", "-q") == ""
    out = Image.open(tmp_path / "out.png")
    assert (out.size, out.mode) == (size, mode)
    assert out.getexif().get(ExifTags.Base.Orientation) is None
    assert out.info.get("icc_profile") == (b"a profile" if name == "profiled" else None)


def test_a_turned_picture_is_the_upright_one_enlarged(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "upright.png")
    for name in ("upright", "turned"):
        file = tmp_path / "upright.png" if name == "upright" else odd(tmp_path, name)
        assert run("upscale", file, "-o", tmp_path / f"{name}-out.png", "-q") == ""
    outs = (Image.open(tmp_path / f"{name}-out.png").tobytes() for name in ("upright", "turned"))
    assert len(set(outs)) == 1


def test_what_cannot_be_enlarged_is_named(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    Image.new("I;16", (4, 4)).save(tmp_path / "deep.png")
    Image.new("CMYK", (4, 4)).save(tmp_path / "print.jpg")
    Image.new("RGBA", (4, 4)).save(tmp_path / "clear.png")
    Image.new("1", (6000, 6000)).save(tmp_path / "wide.png")
    (tmp_path / "words.png").write_text("words")
    (tmp_path / "cut.png").write_bytes((tmp_path / "clear.png").read_bytes()[:45])
    for words, told in {
        ("moves.gif",): "moves.gif has 2 frames; save one of them as a .png",
        ("deep.png",): "deep.png has pixels of mode I;16; save it in 8-bit RGB, RGBA or grey",
        ("print.jpg",): "print.jpg has pixels of mode CMYK; save it",
        ("wide.png",): "6000x6000 times 4 is 24000x24000, more than the 134217728 pixels",
        ("words.png",): "words.png is not a readable picture",
        ("cut.png",): "cut.png is not a readable picture",
        ("none.png",): "there is no",
        ("clear.png", "-o", tmp_path / "x.jpg"): "JPEG holds no transparency; write a .png",
        ("clear.png", "-o", tmp_path / "x.gif"): "the suffix must be one of .png",
        ("clear.png", "--scale", 3): "scale: 3 is not one of 2, 4; nearest: 2",
        ("clear.png", "--scale", 1): "scale: 1 is not one of 2, 4; nearest: 2",
    }.items():  # fmt: skip
        before = {*tmp_path.iterdir()}
        message = run("upscale", tmp_path / words[0], *words[1:])
        assert told in message
        assert "\n" not in message
        assert {*tmp_path.iterdir()} == before
