"""Room for large files, looked for before they are begun. No torch."""

import shutil
from pathlib import Path

from flux1.errors import OutputError


def check_room(place: Path, size: int) -> None:
    """OutputError unless the disk that `place` will be on has `size` bytes left."""
    folder = next(parent for parent in place.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(
            f"{place}: needs {size / 1e9:.3g} GB, its disk has {free / 1e9:.3g} GB left"
        )
