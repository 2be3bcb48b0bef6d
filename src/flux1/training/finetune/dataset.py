"""Folders of pictures and captions: what can be learnt from them, and what is wrong with the rest.

Captions are files beside the pictures, rows of `metadata.jsonl` (`file_name`, `text`), or a column
of a Hugging Face data set: its folder, or parquet files.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from flux1.errors import DataError, DependencyError
from flux1.training.finetune.captions import METADATA, Found, of_folder
from flux1.training.finetune.pictures import SUFFIXES, Look, look
from flux1.training.finetune.remarks import Remarks
from flux1.training.finetune.settings import Pictures

SAVED_DATASET = ("dataset_info.json", "dataset_dict.json")  # of `datasets`, by save_to_disk
IMAGE_COLUMN = "image"
TRIGGER = "[trigger]"  # where a caption has the trigger word, as ai-toolkit's do


@dataclass(frozen=True)
class Example:
    """A picture with its caption, shown `repeats` times where others are shown once; `name` is what
    a person would look for."""

    name: str
    caption: str
    sha256: str
    look: Look
    read: Callable[[], bytes]
    repeats: int = 1


def read_examples(pictures: Pictures, remarks: Remarks, cache: Path) -> list[Example]:
    """Everything that can be learnt from, ordered by name; `remarks` are told the rest.

    `cache` is a folder for what `datasets` unpacks. DataError if nothing is left.
    """
    examples = [
        example
        for folder in pictures.folders
        for found in _found(folder, pictures, remarks, cache)
        if (example := _checked(found, pictures, remarks)) is not None
    ]
    examples = list(_once(examples, remarks))
    if not examples:
        said = "; ".join(remarks) or f"it holds no picture ({', '.join(SUFFIXES)})"
        advice = (
            '; --caption "..." captions pictures that have none' if "no caption" in said else ""
        )
        data = ", ".join(map(str, pictures.folders))
        raise DataError(f"data: {data}: nothing to learn from: {said}{advice}")
    return examples


def _found(data: Path, pictures: Pictures, remarks: Remarks, cache: Path) -> Iterator[Found]:
    if not data.is_dir():
        raise DataError(f"data: {data} is not a folder")
    if any((data / name).is_file() for name in SAVED_DATASET) or any(data.rglob("*.parquet")):
        found = _of_datasets(data, pictures.column, cache)
    else:
        found = of_folder(data, pictures.column, remarks)
    for one in found:
        several = len(pictures.folders) > 1
        yield replace(one, name=f"{data}/{one.name}") if several else one


def _checked(found: Found, pictures: Pictures, remarks: Remarks) -> Example | None:
    name = found.name
    try:
        content = found.read()
        seen = look(content)
    except DataError as failure:
        remarks.add("unreadable, left out", f"{name} ({failure})")
        return None
    except OSError as failure:
        remarks.add("unreadable, left out", f"{name} ({failure.strerror})")
        return None
    told = _caption(found, pictures, remarks)
    if told is None:
        return None
    for note in seen.notes:
        remarks.add(note, name)
    if found.repeats > 1:
        remarks.add(f"shown {found.repeats} times as often, as their folder's name says", name)
    sha256 = hashlib.sha256(content).hexdigest()
    return Example(name, told, sha256, seen, found.read, found.repeats)


def _caption(found: Found, pictures: Pictures, remarks: Remarks) -> str | None:
    """Return what is learnt with a picture; None, and `remarks` are told why, if there is
    nothing."""
    name, told = found.name, (found.words or "").strip() or pictures.caption
    if told is None and found.group is not None:
        remarks.add("with no caption, their folder's words are taken", f"{name} ({found.group})")
        told = found.group
    if told is None:
        kind = "no caption" if found.words is None else "an empty caption"
        remarks.add(f"with {kind}, left out", name)
        return None
    if any("\ud800" <= character <= "\udfff" for character in told):
        remarks.add("with half a character in their caption, left out", name)
        return None
    return triggered(told, pictures.trigger)


def triggered(caption: str, trigger: str | None) -> str:
    """A caption with the trigger word: where it says [trigger], else before all, once."""
    if trigger is None:
        return caption
    if TRIGGER in caption:
        return caption.replace(TRIGGER, trigger)
    return caption if trigger in caption else f"{trigger}, {caption}"


def _once(examples: list[Example], remarks: Remarks) -> Iterator[Example]:
    """The same pixels with the same words teach nothing more."""
    seen: dict[tuple[str, str], str] = {}
    for example in examples:
        key = (example.sha256, example.caption)
        if key in seen:
            remarks.add("the same as another, left out", f"{example.name} (as {seen[key]})")
        else:
            seen[key] = example.name
            yield example


def _of_datasets(data: Path, column: str, cache: Path) -> Iterator[Found]:
    rows = _rows(data, cache)
    for wanted, option in ((IMAGE_COLUMN, ""), (column, "; --caption-column names another")):
        if wanted not in rows.column_names:
            has = ", ".join(rows.column_names)
            raise DataError(f"data: {data}: has no column {wanted!r}, it has {has}{option}")
    from datasets import Image

    rows = rows.cast_column(IMAGE_COLUMN, Image(decode=False))
    for number, words in enumerate(rows[column]):
        read = partial(_cell, rows, number)
        yield Found(f"row {number}", None if words is None else str(words), read)


def _rows(data: Path, cache: Path) -> Any:
    try:
        import datasets
    except ModuleNotFoundError as missing:
        kind = f"a Hugging Face data set, not a folder of pictures with .txt files or a {METADATA}"
        raise DependencyError(f"data: {data} ({kind})", missing.name, "datasets") from missing
    try:
        if (data / "dataset_dict.json").is_file():
            splits = datasets.load_from_disk(str(data))
            return splits["train" if "train" in splits else next(iter(splits))]
        if (data / "dataset_info.json").is_file():
            return datasets.load_from_disk(str(data))
        files = sorted(str(path) for path in data.rglob("*.parquet"))
        training = [file for file in files if "train" in Path(file).name]
        return datasets.load_dataset(
            "parquet", data_files=training or files, split="train", cache_dir=str(cache)
        )
    except Exception as failure:  # of pyarrow, of datasets: any
        words = (str(failure).splitlines() or [type(failure).__name__])[0]
        raise DataError(f"data: {data}: cannot be read as a data set: {words}") from failure


def _cell(rows: Any, number: int) -> bytes:
    """A picture of a data set: its bytes, or those of the file that it names."""
    cell = rows[number][IMAGE_COLUMN]
    if cell is None:
        raise DataError("an empty cell")
    content: bytes | None = cell["bytes"]
    return Path(cell["path"]).read_bytes() if content is None else content
