"""Whole files: room for them, their hash, and what the system says of them. No torch."""

import hashlib
import shutil
from pathlib import Path

from flux1.errors import OutputError, WeightsError


def check_room(place: Path, size: int) -> None:
    """OutputError unless the disk that `place` will be on has `size` bytes left."""
    folder = next(parent for parent in place.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(
            f"{place}: needs {size / 1e9:.3g} GB, its disk has {free / 1e9:.3g} GB left"
        )


def sha256(file: Path) -> str:
    """Hex digest of a whole file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unreadable(failure: OSError) -> WeightsError:
    """The system's complaint about a file or folder, as one line."""
    name = str(failure.filename or "a weight file")
    shown = name if len(name) <= 200 else f"{name[:200]}..."
    return WeightsError(f"{shown}: cannot be read: {failure.strerror}")
