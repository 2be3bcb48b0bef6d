"""Captions of a folder's pictures: files beside them, or rows of `metadata.jsonl`."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flux1.errors import DataError
from flux1.training.finetune.pictures import SUFFIXES
from flux1.training.finetune.remarks import Remarks
from flux1.training.finetune.walk import files_of, is_mask, repeats_of

METADATA = "metadata.jsonl"
BESIDE = (".txt", ".caption", ".json")  # of several, the first counts
IGNORED = (".jsonl", ".md")


@dataclass(frozen=True)
class Found:
    """A picture and its caption, None if it has none; `group` are the words of its folder's name,
    by which it is shown `repeats` times."""

    name: str
    words: str | None
    read: Callable[[], bytes]
    repeats: int = 1
    group: str | None = None


def of_folder(data: Path, column: str, remarks: Remarks) -> Iterator[Found]:
    """The pictures of a folder and of all inside it; `remarks` are told what is left out."""
    files = files_of(data, remarks)
    pictures = _pictures(files, data, remarks)
    rows = _metadata(data, column, remarks, {_name(path, data) for path in pictures})
    beside = _beside(files, pictures, data, remarks)
    owners: dict[Path, Path] = {}
    for path in pictures:
        name, texts = _name(path, data), beside.get(path.with_suffix(""), [])
        owner = owners.setdefault(path.with_suffix(""), path)
        words = rows.get(name)
        if words is not None and texts:
            remarks.add(f"captioned twice, {METADATA} counts", name)
        elif texts and owner != path:
            same = f"{name} (as {_name(owner, data)})"
            remarks.add("of the same name as another, whose caption file it is, left out", same)
            continue
        elif texts:
            if len(texts) > 1:
                remarks.add(f"captioned twice, {texts[0].suffix} counts", name)
            try:
                words = _text(texts[0], column)
            except DataError as failure:
                reason = f"{name} ({texts[0].name}: {failure})"
                remarks.add("whose caption cannot be read, left out", reason)
                continue
        repeats, group = repeats_of(path, data)
        yield Found(name, words, path.read_bytes, repeats, group)


def _pictures(files: Sequence[Path], data: Path, remarks: Remarks) -> list[Path]:
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    for path in files:
        if path.suffix.lower() not in (*SUFFIXES, *BESIDE, *IGNORED):
            remarks.add("not a kind of picture that is read, left out", _name(path, data))
    names = {path.with_suffix("") for path in pictures}
    masks = [path for path in pictures if is_mask(path, names)]
    for path in masks:
        remarks.add("masks of other pictures, not used and left out", _name(path, data))
    return [path for path in pictures if path not in masks]


def _beside(
    files: Sequence[Path], pictures: Sequence[Path], data: Path, remarks: Remarks
) -> dict[Path, list[Path]]:
    """The caption files of each picture, by its path without suffix, the one that counts first."""
    names = {path.with_suffix("") for path in pictures}
    beside: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        if path.suffix.lower() in BESIDE:
            if path.with_suffix("") in names:
                beside[path.with_suffix("")].append(path)
            else:
                remarks.add("captions of no picture", _name(path, data))
    for texts in beside.values():
        texts.sort(key=lambda path: BESIDE.index(path.suffix.lower()))
    return beside


def _text(file: Path, column: str) -> str:
    """DataError, a few words, if it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() != ".json":
            return text
        told = json.loads(text)
    except OSError as failure:
        raise DataError(f"{failure.strerror}") from failure
    except UnicodeDecodeError as failure:
        raise DataError("not UTF-8 text") from failure
    except (ValueError, RecursionError) as failure:
        raise DataError("not JSON") from failure
    words = (told.get(column) or told.get("caption")) if isinstance(told, dict) else told
    if not isinstance(words, str):
        raise DataError(f"no {column!r} or 'caption' that is text")
    return words


def _metadata(data: Path, column: str, remarks: Remarks, pictures: set[str]) -> dict[str, str]:
    """Captions by picture. DataError, with the line, if the file is not what it should be."""
    file = data / METADATA
    if not file.is_file():
        return {}
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # other ends may be in captions
    except UnicodeDecodeError as failure:
        raise DataError(f"data: {file}: is not UTF-8 text") from failure
    rows: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, words = _row(line, column, f"data: {file}, line {number}")
        if name not in pictures:
            remarks.add("captions of no picture", f"{name} ({METADATA})")
        elif name in rows:
            remarks.add(f"captioned twice in {METADATA}, the first counts", name)
        elif words is not None:
            rows[name] = words
    return rows


def _row(line: str, column: str, place: str) -> tuple[str, str | None]:
    try:
        row = json.loads(line)
        name = Path(row["file_name"]).as_posix()
    except (ValueError, KeyError, TypeError) as failure:
        raise DataError(f"{place}: not an object with a file_name") from failure
    words = row.get(column)
    if words is not None and not isinstance(words, str):
        raise DataError(f"{place}: {column}: {words!r} is not text")
    return name, words


def _name(path: Path, data: Path) -> str:
    return path.relative_to(data).as_posix()
