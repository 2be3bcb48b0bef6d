"""Every kind of picture file to upright RGB, or a few words about why not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from flux1.errors import DataError
from flux1.training.finetune.pictures import decode_rgb, look

ORIENTATION = 0x0112


def stored(picture, kind="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def colours():
    """Four different quarters: a turn or a mirror image would show."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30], pixels[:20, 30:] = (250, 10, 10), (10, 250, 10)
    pixels[20:, :30], pixels[20:, 30:] = (10, 10, 250), (240, 240, 20)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_a_plain_picture_comes_back_as_it_is(colours, kind):
    data = stored(colours, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert look(data).notes == ()
    assert (look(data).width, look(data).height) == (60, 40)
    assert np.array_equal(decode_rgb(data), colours)


@pytest.mark.parametrize("turn", [1, 2, 3, 4, 5, 6, 7, 8])
def test_a_picture_that_lies_on_its_side_is_put_upright(colours, turn):
    upside = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    lying = colours if upside[turn] is None else colours.transpose(upside[turn])
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    data = stored(lying, exif=exif)
    assert (look(data).width, look(data).height) == (60, 40)
    assert np.array_equal(decode_rgb(data), colours)


def test_cmyk_is_said_and_brought_to_rgb(colours):
    data = stored(colours.convert("CMYK"), "JPEG", quality=100, subsampling=0)
    assert look(data).notes == ("in CMYK, brought to RGB",)
    difference = np.abs(np.asarray(decode_rgb(data), int) - np.asarray(colours, int))
    assert difference[5:15, 5:25].max() <= 4


def test_sixteen_bit_grey_keeps_its_range():
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16)[None].repeat(8, 0)
    data = stored(Image.fromarray(ramp))
    assert look(data).notes == ("in 16-bit grey, brought to 8 bits",)
    assert np.array_equal(decode_rgb(data), np.round(ramp / 257)[..., None].repeat(3, -1))


def test_of_an_animation_the_first_frame_is_taken(colours):
    frames = [colours, colours.transpose(Image.Transpose.ROTATE_180)]
    data = stored(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert look(data).notes == ("of several frames, the first is taken",)
    assert np.array_equal(decode_rgb(data), colours)


def test_a_cameras_preview_inside_of_its_picture_is_not_spoken_of(colours):
    small = colours.resize((30, 20))
    data = stored(colours, "MPO", save_all=True, append_images=[small])
    assert look(data).notes == ()
    assert decode_rgb(data).size == (60, 40)


def test_what_is_transparent_is_put_on_white(colours):
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[:, 30:] = 0
    layered = colours.copy()
    layered.putalpha(Image.fromarray(alpha))
    data = stored(layered)
    assert look(data).notes == ("with transparency, put on white",)
    drawn = np.asarray(decode_rgb(data))
    assert (drawn[:, 30:] == 255).all()
    assert np.array_equal(drawn[:, :30], np.asarray(colours)[:, :30])


def test_a_palette_with_a_transparent_colour_is_put_on_white():
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 200, 30, 30])
    picture.putpixel((0, 0), 0)
    drawn = decode_rgb(stored(picture, transparency=0))
    assert drawn.getpixel((0, 0)) == (255, 255, 255)
    assert drawn.getpixel((4, 4)) == (200, 30, 30)


def test_a_colour_profile_is_followed_and_a_broken_one_does_no_harm(colours):
    same = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = np.asarray(colours, int)
    followed = np.asarray(decode_rgb(stored(colours, icc_profile=same)), int)
    assert np.abs(followed - plain).max() <= 1
    broken = decode_rgb(stored(colours, icc_profile=b"no profile"))
    assert np.array_equal(broken, plain)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"GIF89a", "not a picture"),
        (b"hello, this is text", "not a picture"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_few_words(data, words):
    with pytest.raises(DataError, match=words):
        look(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_file_that_ends_too_early_is_refused_when_it_is_decoded(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = stored(Image.fromarray(noise), kind)
    with pytest.raises(DataError):
        decode_rgb(data[: len(data) // 2])


def test_float_pixels_have_no_known_range():
    data = stored(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF")
    with pytest.raises(DataError, match="32-bit floats"):
        look(data)
