"""The names of the picture files that a call writes: no picture takes another one's place."""

import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from flux1.errors import OutputError, nearest

FIELDS = ("n", "seed")
_FIELD = re.compile(r"\{(\w+)\}")


def picture_files(output: Path, seeds: Sequence[int], overwrite: bool = False) -> list[Path]:
    """A file for each picture, in order: `output` with `{seed}` and `{n}` filled in.

    `{n}` counts from 0, or from the first number from which on nothing is there. Where several
    pictures would have one name, or the name is taken, `-{n}` is added before the suffix. With
    `overwrite`, files that are there count for nothing. OutputError for any other word in braces.
    """
    _check_fields(output.name)
    if "{n}" in output.name:
        return _counted(output, output.name, seeds, 0, overwrite)
    files = [_file(output, output.name, 0, seed) for seed in seeds]
    alone = len(set(files)) == len(files)
    if alone and (overwrite or not any(map(_taken, files))):
        return files
    first = 1 if len(files) == 1 else 0  # of one picture, the bare name is number 0
    name = f"{output.stem}-{{n}}{output.suffix}"
    return _counted(output, name, seeds, first, overwrite)


def _counted(
    output: Path, name: str, seeds: Sequence[int], first: int, overwrite: bool
) -> list[Path]:
    for start in count(first):
        files = [_file(output, name, start + k, seed) for k, seed in enumerate(seeds)]
        if overwrite or not any(map(_taken, files)):
            return files
    raise AssertionError("numbers do not end")


def _file(output: Path, name: str, number: int, seed: int) -> Path:
    return output.parent / name.replace("{n}", str(number)).replace("{seed}", str(seed))


def _taken(path: Path) -> bool:
    """Return whether a file is there; what cannot be asked is said when it is to be written."""
    try:
        return path.is_file()
    except OSError:
        return False


def _check_fields(name: str) -> None:
    for word in _FIELD.findall(name):
        if word not in FIELDS:
            raise OutputError(
                f"output: {{{word}}} in {name!r} is none of {{n}}, {{seed}}{nearest(word, FIELDS)}"
            )
