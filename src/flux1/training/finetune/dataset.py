"""A folder of pictures and captions: what can be learnt from it, and what is wrong with the rest.

Captions are `.txt` files beside the pictures, rows of `metadata.jsonl` (`file_name`, `text`), or a
column of a Hugging Face data set: its folder, or parquet files.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flux1.errors import DataError, DependencyError
from flux1.training.finetune.pictures import SUFFIXES, Look, look
from flux1.training.finetune.remarks import Remarks
from flux1.training.finetune.settings import Pictures

METADATA = "metadata.jsonl"
SAVED_DATASET = ("dataset_info.json", "dataset_dict.json")  # of `datasets`, by save_to_disk
IMAGE_COLUMN = "image"


@dataclass(frozen=True)
class Example:
    """A picture with its caption; `name` is what a person would look for."""

    name: str
    caption: str
    sha256: str
    look: Look
    read: Callable[[], bytes]


def read_examples(pictures: Pictures, remarks: Remarks, cache: Path) -> list[Example]:
    """Everything that can be learnt from, ordered by name; `remarks` are told the rest.

    `cache` is a folder for what `datasets` unpacks. DataError if nothing is left.
    """
    data, caption, column = pictures.folder, pictures.caption, pictures.column
    if not data.is_dir():
        raise DataError(f"data: {data} is not a folder")
    if any((data / name).is_file() for name in SAVED_DATASET) or any(data.rglob("*.parquet")):
        found = _of_datasets(data, column, cache)
    else:
        found = _of_folder(data, column, remarks)
    examples = [
        example
        for name, words, read in found
        if (example := _checked(name, words, read, remarks, caption)) is not None
    ]
    examples = list(_once(examples, remarks))
    if not examples:
        said = "; ".join(remarks) or f"it holds no picture ({', '.join(SUFFIXES)})"
        advice = (
            '; --caption "..." captions pictures that have none' if "no caption" in said else ""
        )
        raise DataError(f"data: {data}: nothing to learn from: {said}{advice}")
    return examples


_Found = tuple[str, str | None, Callable[[], bytes]]


def _checked(
    name: str,
    words: str | None,
    read: Callable[[], bytes],
    remarks: Remarks,
    fallback: str | None,
) -> Example | None:
    try:
        content = read()
        seen = look(content)
    except DataError as failure:
        remarks.add("unreadable, left out", f"{name} ({failure})")
        return None
    except OSError as failure:
        remarks.add("unreadable, left out", f"{name} ({failure.strerror})")
        return None
    told = (words or "").strip() or fallback
    if told is None:
        kind = "with no caption, left out" if words is None else "with an empty caption, left out"
        remarks.add(kind, name)
        return None
    if any("\ud800" <= character <= "\udfff" for character in told):
        remarks.add("with half a character in their caption, left out", name)
        return None
    for note in seen.notes:
        remarks.add(note, name)
    return Example(name, told, hashlib.sha256(content).hexdigest(), seen, read)


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


def _of_folder(data: Path, column: str, remarks: Remarks) -> Iterator[_Found]:
    files = [path for path in sorted(data.rglob("*")) if path.is_file() and not _hidden(path, data)]
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    known = {*SUFFIXES, ".txt", ".jsonl", ".json", ".md"}
    for path in files:
        if path.suffix.lower() not in known:
            remarks.add("not a kind of picture that is read, left out", _name(path, data))
    rows = _metadata(data, column, remarks, {_name(path, data) for path in pictures})
    beside: dict[Path, list[Path]] = defaultdict(list)
    for path in pictures:
        beside[path.with_suffix(".txt")].append(path)
    for path in files:
        if path.suffix.lower() == ".txt" and path not in beside:
            remarks.add("captions of no picture", _name(path, data))
    for path in pictures:
        name, words_file = _name(path, data), path.with_suffix(".txt")
        words = rows.get(name)
        if words is None and words_file.is_file():
            if (owner := beside[words_file][0]) != path:
                remarks.add(
                    "of the same name as another, whose caption file it is, left out",
                    f"{name} (as {_name(owner, data)})",
                )
                continue
            words = _text(words_file, data, remarks)
        elif words_file.is_file():
            remarks.add(f"captioned twice, {METADATA} counts", name)
        yield name, words, path.read_bytes


def _text(file: Path, data: Path, remarks: Remarks) -> str | None:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        remarks.add("captions that are not UTF-8 text", _name(file, data))
        return None


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
        try:
            row = json.loads(line)
            name = Path(row["file_name"]).as_posix()
        except (ValueError, KeyError, TypeError) as failure:
            raise DataError(
                f"data: {file}, line {number}: not an object with a file_name"
            ) from failure
        words = row.get(column)
        if words is not None and not isinstance(words, str):
            raise DataError(f"data: {file}, line {number}: {column}: {words!r} is not text")
        if name not in pictures:
            remarks.add("captions of no picture", f"{name} ({METADATA})")
        elif name in rows:
            remarks.add(f"captioned twice in {METADATA}, the first counts", name)
        elif words is not None:
            rows[name] = words
    return rows


def _of_datasets(data: Path, column: str, cache: Path) -> Iterator[_Found]:
    rows = _rows(data, cache)
    for wanted, option in ((IMAGE_COLUMN, ""), (column, "; --caption-column names another")):
        if wanted not in rows.column_names:
            has = ", ".join(rows.column_names)
            raise DataError(f"data: {data}: has no column {wanted!r}, it has {has}{option}")
    from datasets import Image

    rows = rows.cast_column(IMAGE_COLUMN, Image(decode=False))
    for number, words in enumerate(rows[column]):
        read = partial(_cell, rows, number)
        yield f"row {number}", None if words is None else str(words), read


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


def _hidden(path: Path, data: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(data).parts)


def _name(path: Path, data: Path) -> str:
    return path.relative_to(data).as_posix()
