"""Where a picture came from: the whole recipe, inside the file, readable by anyone.

PNG keeps it as an iTXt chunk named `flux1`; JPEG and WebP as EXIF UserComment. All three carry
EXIF Software, so that other programs can tell a generated picture from a photograph.
"""

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from flux1.errors import OutputError, nearest

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_CHUNK = "flux1"
_UNICODE = b"UNICODE\x00"


@dataclass(frozen=True)
class Recipe:
    """Everything that draws the same picture again."""

    prompt: str
    negative_prompt: str
    model: str
    model_hash: str
    width: int
    height: int
    steps: int
    guidance: float | None
    true_cfg: float
    solver: str
    seed: int
    device: str
    dtype: str
    version: str


def format_for(path: Path) -> str:
    """PIL's name of the format that a file's suffix asks for (OutputError for any other)."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise OutputError(
            f"output: cannot write {path.name!r}: the suffix must be one of "
            f"{', '.join(FORMATS)}{nearest(suffix, FORMATS)}"
        )
    return FORMATS[suffix]


def encode_picture(picture: Image.Image, recipe: Recipe, format: str) -> bytes:
    """The picture as PNG, JPEG (quality 95, 4:4:4) or WebP (quality 95) bytes with its recipe."""
    text = json.dumps(asdict(recipe), ensure_ascii=False)
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = f"flux1 {recipe.version}; AI generated"
    buffer = io.BytesIO()
    if format == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt(_CHUNK, text)
        picture.save(buffer, format, pnginfo=chunks, exif=exif)
    else:
        comment = _UNICODE + text.encode("utf-16-be")
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
        picture.save(buffer, format, quality=95, subsampling=0, exif=exif)
    return buffer.getvalue()


def write_picture(path: Path, data: bytes) -> None:
    """Write beside the target, then rename: a reader sees the whole picture or none."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as failure:
        partial.unlink(missing_ok=True)
        raise OutputError(f"output: cannot write {path}: {failure.strerror}") from failure


def check_writable(path: Path) -> None:
    """Refuse a target that could not be written, before any work is done for it."""
    format_for(path)
    if path.is_dir():
        raise OutputError(
            f"output: {path} is a folder; name a file, for example {path / 'fox.png'}"
        )
    probe = path.with_name(f".{path.name}.partial")
    try:
        probe.touch()
        probe.unlink()
    except OSError as failure:
        raise OutputError(f"output: cannot write {path}: {failure.strerror}") from failure


def read_recipe(path: Path) -> dict[str, object]:
    """The recipe of a picture that flux1 wrote, as its fields (OutputError if there is none)."""
    try:
        with Image.open(path) as picture:
            text = picture.info.get(_CHUNK)
            if text is None:
                comment = (
                    picture.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
                )
                if isinstance(comment, bytes) and comment.startswith(_UNICODE):
                    text = comment.removeprefix(_UNICODE).decode("utf-16-be")
    except FileNotFoundError:
        raise OutputError(f"file: there is no {path}") from None
    except (UnidentifiedImageError, OSError) as failure:
        raise OutputError(f"file: {path} is not a readable picture ({failure})") from failure
    try:
        recipe = json.loads(text) if text else None
    except (ValueError, UnicodeDecodeError):
        recipe = None
    if not isinstance(recipe, dict):
        raise OutputError(f"file: {path} holds no flux1 recipe (was it saved again elsewhere?)")
    return recipe
