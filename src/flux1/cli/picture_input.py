"""A picture file that somebody names, to upright 8-bit pixels; what cannot be read so is named."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from flux1.errors import OutputError

COLOUR_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")  # 8 bits or fewer, no other space
WITH_PREVIEWS = ("MPO",)  # cameras' JPEG: the frames after the first are the same, smaller


@dataclass(frozen=True)
class PictureInput:
    """RGB, or RGBA if the file has transparency; its colour profile, and the program that wrote it
    ('' if it does not say)."""

    picture: Image.Image
    profile: bytes | None
    software: str


def read_picture(file: Path) -> PictureInput:
    """A file's picture, turned as its EXIF data says.

    OutputError, one line, for a file that is no picture, is damaged, moves, or has pixels of more
    than 8 bits or in another space than RGB or grey.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file) as picture:
            _check(file, picture)
            return _read(picture)
    except OutputError:
        raise
    except FileNotFoundError:
        raise OutputError(f"file: there is no {file}") from None
    except Image.DecompressionBombError:
        raise OutputError(f"file: {file} has more pixels than a picture should have") from None
    except Exception as failure:  # PIL's readers raise whatever a damaged file provokes
        why = "" if isinstance(failure, UnidentifiedImageError) else f" ({failure})"
        raise OutputError(f"file: {file} is not a readable picture{why}") from failure


def _check(file: Path, picture: Image.Image) -> None:
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format not in WITH_PREVIEWS:
        raise OutputError(f"file: {file} has {frames} frames; save one of them as a .png")
    if picture.mode not in COLOUR_MODES:
        raise OutputError(
            f"file: {file} has pixels of mode {picture.mode}; save it in 8-bit RGB, RGBA or grey"
        )


def _read(picture: Image.Image) -> PictureInput:
    profile = picture.info.get("icc_profile") if picture.mode.startswith(("RGB", "P")) else None
    software = str(picture.getexif().get(ExifTags.Base.Software, ""))
    upright = ImageOps.exif_transpose(picture)
    mode = "RGBA" if upright.has_transparency_data else "RGB"
    return PictureInput(upright.convert(mode), profile, software)
