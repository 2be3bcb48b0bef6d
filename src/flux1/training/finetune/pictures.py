"""A picture file's bytes to upright RGB pixels, whatever it holds."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageOps

from flux1.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
ORIENTATION = 0x0112  # the EXIF tag; from 5 on, the picture lies on its side
SIDEWAYS = (5, 6, 7, 8)
WITH_PREVIEWS = ("MPO",)  # cameras' JPEG: the frames after the first are the same, smaller
# Modes of 16-bit grey; PIL reads 16-bit colour as 8-bit by itself.
DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


@dataclass(frozen=True)
class Look:
    """The contents of a picture's header: its size when upright, and what must be done to read
    it."""

    width: int
    height: int
    notes: tuple[str, ...]


def look(data: bytes) -> Look:
    """DataError, a few words, if it is no picture that can be read."""
    with _opened(data) as picture:
        width, height = picture.size
        if picture.getexif().get(ORIENTATION) in SIDEWAYS:
            width, height = height, width
        if picture.mode == "F":
            raise DataError("pixels are 32-bit floats of unknown range")
        notes = []
        if getattr(picture, "n_frames", 1) > 1 and picture.format not in WITH_PREVIEWS:
            notes.append("of several frames, the first is taken")
        if picture.mode in DEEP_MODES:
            notes.append("in 16-bit grey, brought to 8 bits")
        if picture.mode in ("CMYK", "LAB", "YCbCr", "HSV"):
            notes.append(f"in {picture.mode}, brought to RGB")
        if picture.has_transparency_data:
            notes.append("with transparency, put on white")
        return Look(width, height, tuple(notes))


def decode_rgb(data: bytes) -> Image.Image:
    """All pixels; DataError, a few words, if the file ends too early or is damaged."""
    with _opened(data) as picture:
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in DEEP_MODES:
            deep = np.asarray(upright).astype(np.float64)
            grey = (deep / 257).round().clip(0, 255).astype(np.uint8)
            return Image.fromarray(grey).convert("RGB")
        if upright.has_transparency_data:
            layered = upright.convert("RGBA")
            white = Image.new("RGBA", layered.size, "white")
            return Image.alpha_composite(white, layered).convert("RGB")
        return _in_srgb(upright)


def _in_srgb(picture: Image.Image) -> Image.Image:
    """By the picture's own colour profile, where it has one that can be used."""
    profile = picture.info.get("icc_profile")
    if profile and picture.mode in ("RGB", "CMYK"):
        try:
            turned = ImageCms.profileToProfile(
                picture,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            turned = None
        if turned is not None:
            return turned
    return picture.convert("RGB")


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of them is an error later
            with Image.open(io.BytesIO(data)) as picture:
                yield picture
    except DataError:
        raise
    except Image.DecompressionBombError as failure:
        raise DataError("more pixels than any picture should have") from failure
    except Exception as failure:  # a damaged file makes PIL's readers raise anything
        raise DataError(_reason(data, failure)) from failure


def _reason(data: bytes, failure: Exception) -> str:
    if not data:
        return "an empty file"
    if isinstance(failure, Image.UnidentifiedImageError):
        return "not a picture"
    words = (str(failure).splitlines() or [type(failure).__name__])[0]
    return words[:80]
