"""Provenance of a picture: the whole recipe, inside the file, readable by anyone.

PNG keeps it as an iTXt chunk named `flux1`; JPEG and WebP as EXIF UserComment. All three carry
EXIF Software, so that other programs can tell a generated picture from a photograph.
"""

import io
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError
from pydantic import TypeAdapter

from flux1 import __version__
from flux1.errors import OutputError, nearest
from flux1.request import ImageRequest, Origin, PictureSettings

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_LONGEST_EXIF = 192 * 1024  # a recipe of two longest prompts in UTF-16
_CHUNK = "flux1"
_UNICODE = b"UNICODE\x00"


@dataclass(frozen=True)
class LoraRecord:
    """A LoRA that took part: its file's name (not where it lay), its scale, and the first digits of
    the file's sha256."""

    name: str
    scale: float
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Recipe(Origin, PictureSettings):
    """Everything that draws the same picture again: what was asked for, what drew it, and the
    LoRAs that took part."""

    version: str
    loras: tuple[LoraRecord, ...] = ()


def recipe_of(
    request: ImageRequest, seed: int, origin: Origin, loras: tuple[LoraRecord, ...] = ()
) -> Recipe:
    """The recipe of the picture that `seed` gave for a request. `loras` are those of the request,
    as they are kept: a picture does not tell where files lay."""
    asked = {one.name: getattr(request, one.name) for one in fields(PictureSettings)}
    drawn = asked | asdict(origin) | {"seed": seed}
    return Recipe(**drawn, version=__version__, loras=loras)


def format_for(path: Path) -> str:
    """PIL's name of the format that a file's suffix asks for (OutputError for any other)."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise OutputError(
            f"output: cannot write {path.name!r}: the suffix must be one of "
            f"{', '.join(FORMATS)}{nearest(suffix, FORMATS)}"
        )
    return FORMATS[suffix]


def encode_picture(
    picture: Image.Image, recipe: Recipe, format: str, quality: int | None = None
) -> bytes:
    """The picture as PNG, JPEG (4:4:4) or WebP bytes with its recipe.

    `quality` of JPEG and WebP is 0 (smallest) to 100 (best), 95 if not given; PNG has none.
    OutputError for any other, and if the format cannot hold the picture: JPEG keeps at most 64 KB
    of recipe, and JPEG and WebP have a longest side.
    """
    if quality is not None and format == "PNG":
        raise OutputError(f"quality: {quality} has no effect on PNG, which loses nothing")
    if quality is not None and not 0 <= quality <= 100:
        near = min(max(quality, 0), 100)
        raise OutputError(f"quality: {quality} is not from 0 to 100; nearest: {near}")
    quality = 95 if quality is None else quality
    text = json.dumps(asdict(recipe), ensure_ascii=False)
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = f"flux1 {recipe.version}; AI generated"
    buffer = io.BytesIO()
    picture = picture.copy()  # saving keeps notes on the picture, which another thread would read
    try:
        if format == "PNG":
            chunks = PngImagePlugin.PngInfo()
            chunks.add_itxt(_CHUNK, text)
            picture.save(buffer, format, pnginfo=chunks, exif=exif)
        else:
            comment = _UNICODE + text.encode("utf-16-be")
            exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
            picture.save(buffer, format, quality=quality, subsampling=0, exif=exif)
    except (ValueError, OSError) as failure:
        raise OutputError(
            f"output: {format} cannot hold this picture and its recipe ({failure}); write a .png"
        ) from failure
    return buffer.getvalue()


def write_picture(path: Path, data: bytes) -> None:
    """Write beside the target, then rename: a reader sees the whole picture or none."""
    target = Path(os.path.realpath(path))  # a link is followed, not replaced
    with _beside(target) as partial:
        partial.write_bytes(data)
        partial.replace(target)


def check_writable(path: Path) -> None:
    """Refuse a target that could not be written, before any work is done for it."""
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise OutputError(f"output: {path} is a folder; name a file, such as {path / 'a.png'}")
        if target.exists() and not target.is_file():
            raise OutputError(f"output: {path} is not a regular file")
    except OSError as failure:
        raise OutputError(f"output: cannot write {path}: {failure.strerror}") from failure
    format_for(path)
    with _beside(target):
        pass


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A file of this process alone in the target's folder, gone when the block ends."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        yield partial
    except OSError as failure:
        raise OutputError(f"output: cannot write {path}: {failure.strerror}") from failure
    finally:
        with suppress(OSError):
            partial.unlink()


def read_recipe(path: Path) -> Recipe:
    """The recipe of a picture that flux1 wrote (OutputError if there is none)."""
    try:
        with path.open("rb") as file:
            return _read(file, str(path))
    except FileNotFoundError:
        raise OutputError(f"file: there is no {path}") from None
    except OSError as failure:
        raise OutputError(f"file: cannot read {path}: {failure.strerror}") from failure


def parse_recipe(data: bytes) -> Recipe:
    """The recipe in the bytes of a picture that flux1 wrote (OutputError if there is none)."""
    return _read(io.BytesIO(data), "this")


def _read(file: IO[bytes], name: str) -> Recipe:
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file) as picture:
            chunk = picture.info.get(_CHUNK)
            if len(picture.info.get("exif", b"")) > _LONGEST_EXIF:
                raise ValueError("its EXIF data is too long")  # each entry may copy all of it
            exif = picture.getexif().get_ifd(ExifTags.IFD.Exif)
    except Exception as failure:  # PIL's readers raise whatever a damaged file provokes
        why = "" if isinstance(failure, UnidentifiedImageError) else f" ({failure})"
        raise OutputError(f"file: {name} is not a readable picture{why}") from failure
    try:
        comment = exif.get(ExifTags.Base.UserComment, b"")
        text = chunk or comment.removeprefix(_UNICODE).decode("utf-16-be")
        return TypeAdapter(Recipe).validate_json(text, strict=True)
    except (AttributeError, TypeError, ValueError):
        raise OutputError(
            f"file: {name} holds no flux1 recipe (was it saved again by another program?)"
        ) from None
