"""The files of a folder of pictures, and what trainers write into names: masks, repeats."""

import os
import re
from pathlib import Path

from flux1.training.finetune.pictures import SUFFIXES
from flux1.training.finetune.remarks import Remarks

MASKS = ("-masklabel", "-condlabel")  # OneTrainer's, after a picture's name
REPEATED = re.compile(r"([1-9]\d{0,2})_(.+)")  # kohya's folders: 10_zorb


def files_of(data: Path, remarks: Remarks) -> list[Path]:
    """All files below a folder, in order, those behind links too. Hidden ones are left out;
    `remarks` are told of folders and links that are not read."""
    found, seen = [], {data.resolve()}

    def failed(failure: OSError) -> None:
        remarks.add("sub-folders that cannot be read, left out", _name(failure.filename, data))

    for place, folders, files in os.walk(data, followlinks=True, onerror=failed):
        folders[:] = [
            name for name in sorted(folders) if _enters(Path(place, name), data, seen, remarks)
        ]
        for path in (Path(place, name) for name in files if not name.startswith(".")):
            if path.is_file():
                found.append(path)
            else:
                remarks.add("links to nothing, left out", _name(path, data))
    return sorted(found)


def is_mask(path: Path, names: set[Path]) -> bool:
    """Return whether a picture is the mask of another; `names` are the pictures' paths without
    suffix."""
    return any(
        path.stem.endswith(end) and path.with_name(path.stem.removesuffix(end)) in names
        for end in MASKS
    )


def repeats_of(path: Path, data: Path) -> tuple[int, str | None]:
    """Return how often the name of a picture's folder says that it is to be shown, and its other
    words; 1 and None where it says nothing."""
    inner = path.relative_to(data).parent.parts
    for name in (*reversed(inner), data.resolve().name):
        if match := REPEATED.fullmatch(name):
            return int(match[1]), match[2].replace("_", " ")
    return 1, None


def _enters(folder: Path, data: Path, seen: set[Path], remarks: Remarks) -> bool:
    if folder.name.startswith("."):
        if any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*")):
            remarks.add("hidden folders with pictures, left out", _name(folder, data))
        return False
    real = folder.resolve()
    if real in seen:
        remarks.add("links to a folder that is read already, left out", _name(folder, data))
        return False
    seen.add(real)
    return True


def _name(path: str | Path, data: Path) -> str:
    return Path(path).relative_to(data).as_posix()
