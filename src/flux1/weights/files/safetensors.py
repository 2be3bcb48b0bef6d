"""Safetensors files: mapped, not read, and checked before a byte of a tensor is believed.

The format (github.com/huggingface/safetensors): eight bytes of header length, little endian; the
header, JSON, naming each tensor's dtype, shape and byte range; the bytes.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from flux1.errors import MissingWeightsError, OutputError, WeightsError
from flux1.weights.files.dtypes import DTYPES
from flux1.weights.files.lazy import Stored, StoredTensors
from flux1.weights.files.mapped import MappedFile

MAX_HEADER = 100_000_000  # bytes; the format's own limit
LARGEST = 2**48  # of a size, an offset, or a shape's sides multiplied (noughts left out)
MAX_DIMENSIONS = 8
INDEX_SUFFIX = ".safetensors.index.json"
STEMS = ("diffusion_pytorch_model", "model")  # diffusers' and transformers' names of the one file
# Their names of an index, and of the one file: a variant ("fp16") stands before the last suffix.
_INDEX = re.compile(rf"({'|'.join(STEMS)})\.safetensors\.index(\.\w+)?\.json")
_WHOLE = re.compile(rf"({'|'.join(STEMS)})(\.\w+)?\.safetensors")


@dataclass(frozen=True)
class Entry:
    """A line of the header: `start` is where in the file the tensor's bytes begin."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True)
class Header:
    """The header of a safetensors file; the tensors in the order of their bytes."""

    tensors: dict[str, Entry]
    metadata: dict[str, str]


class FileTensors(StoredTensors):
    """The tensors of one file or of a folder's shards; each is mapped when asked for.

    Reading does not copy: a tensor stays a view of the file until it is cast or moved.
    """

    def __init__(self, path: Path, opened: MappedFile | None = None) -> None:
        """Open `path`: a file (which may be `opened` already), or a folder that holds one file or
        an index and its shards.

        MissingWeightsError where a file is not there; WeightsError, naming the file, where it is
        damaged, is of another format, or disagrees with its index.
        """
        self.path = path
        self.files = expected_files(path)
        absent = [str(file) for file in self.files if not file.is_file()]
        if absent:
            raise MissingWeightsError(f"missing {', '.join(absent)}")
        metadata: dict[str, str] = {}
        stored: dict[str, Stored] = {}
        for file in self.files:
            mapped = opened or MappedFile(file)
            header = read_header(mapped)
            metadata |= header.metadata
            repeated = header.tensors.keys() & stored.keys()
            if repeated:
                raise WeightsError(f"{file}: {min(repeated)} is in another shard too")
            for name, entry in header.tensors.items():
                read = partial(mapped.tensor, entry.start, DTYPES[entry.dtype], entry.shape)
                stored[name] = Stored(entry.dtype, entry.shape, entry.size, (read,))
        index = _index(path)
        if index is not None:
            odd = sorted(_weight_map(index).keys() ^ stored.keys())
            if odd:
                raise WeightsError(f"{index}: disagrees with its shards about {', '.join(odd[:5])}")
        super().__init__(stored, metadata)


def expected_files(path: Path, stem: str = "model") -> list[Path]:
    """The files that make up `path`: a file itself, an index's shards, the one safetensors file in
    a folder; `stem.safetensors` if the folder has none. They may be missing.

    WeightsError if the folder holds several and no index, or if a file of it lies elsewhere.
    """
    if path.is_file() or (path.suffix == ".safetensors" and not path.is_dir()):
        return [path]
    if index := _index(path):
        shards = sorted(set(_weight_map(index).values()))
        return [within(path, index.parent / shard) for shard in shards]
    usual = [path / f"{usual_stem}.safetensors" for usual_stem in STEMS]
    files = [file for file in usual if file.is_file()] or sorted(path.glob("*.safetensors"))
    shard = next((file for file in files if "-of-" in file.stem), None)
    if shard is not None:
        stem, _, variant = shard.stem.split("-")[0].partition(".")
        return [
            path / (f"{stem}.safetensors.index.{variant}.json" if variant else stem + INDEX_SUFFIX)
        ]
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise WeightsError(f"{path}: holds several models and no index: {names}; keep one")
    return [within(path, file) for file in files] or [path / f"{stem}.safetensors"]


def is_index(file: Path) -> bool:
    """Return whether a file's name is that of an index of shards, of whatever variant."""
    return _INDEX.fullmatch(file.name) is not None


def holds_network(folder: Path) -> bool:
    """Return whether a folder holds the weights of one network, as diffusers and transformers
    write it."""
    names = (file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else ()
    return any(is_index(file) or _WHOLE.fullmatch(file.name) for file in names)


def read_header(mapped: MappedFile) -> Header:
    """The header of a safetensors file, after checking that the file can be what it says.

    WeightsError if it is cut short, empty, of another format, or has an absurd header.
    """
    file, text = mapped.path, _header_text(mapped)
    size, length = mapped.size, len(text)
    try:
        header = json.loads(text, object_pairs_hook=_without_repetition)
        metadata = {str(key): str(value) for key, value in header.pop("__metadata__", {}).items()}
        entries = [(name, _entry(name, header[name], 8 + length)) for name in header]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as failure:
        raise WeightsError(f"{file}: its header is damaged; download it again") from failure
    except WeightsError as failure:
        raise WeightsError(f"{file}: {failure}") from failure
    tensors = dict(sorted(entries, key=lambda line: (line[1].start, line[1].size)))
    end = 8 + length
    for name, entry in tensors.items():
        if entry.start != end:
            raise WeightsError(f"{file}: damaged: {name} does not follow the tensor before it")
        end += entry.size
    if size != end:
        fault = "truncated" if size < end else "damaged"
        raise WeightsError(f"{file}: {fault}: {size} of {end} bytes; download it again")
    return Header(tensors, metadata)


def _header_text(mapped: MappedFile) -> bytes:
    """The header's JSON, not read yet."""
    file, size, start = mapped.path, mapped.size, mapped.read(0, 9)
    if start.startswith(b"version "):
        raise WeightsError(f"{file}: is a git-lfs pointer, not the weights; run 'git lfs pull'")
    length = int.from_bytes(start[:8], "little")
    if len(start) < 9 or not 2 <= length <= MAX_HEADER or start[8:] != b"{":
        raise WeightsError(f"{file}: not a safetensors file ({size} bytes)")
    if 8 + length > size:
        raise WeightsError(
            f"{file}: truncated: {size} bytes, the header alone has {length}; download it again"
        )
    return mapped.read(8, length)


def within(folder: Path, file: Path) -> Path:
    """`file`, unless it lies outside `folder`: a link in a downloaded folder must not lead into the
    rest of the machine. Hugging Face's cache keeps the files of `snapshots/x` in `blobs`."""
    home = folder.resolve()
    allowed = [home]
    if "snapshots" in home.parts:
        repository = home.parents[home.parts[::-1].index("snapshots")]
        allowed.append(repository / "blobs")
    target = file.resolve()
    if not any(target.is_relative_to(place) for place in allowed):
        raise WeightsError(f"{file}: leads out of its folder, to {target}; put the file there")
    return file


def _entry(name: str, header: dict[str, Any], data: int) -> Entry:
    """One line of the header, of a file whose tensors begin at byte `data`. ValueError and its
    like if it contradicts itself; WeightsError for a dtype that is not known."""
    shape, (begin, end) = header["shape"], header["data_offsets"]
    sizes = all(type(n) is int and 0 <= n < LARGEST for n in (*shape, begin, end))
    if not sizes or len(shape) > MAX_DIMENSIONS or math.prod(filter(None, shape)) >= LARGEST:
        raise ValueError("not a size")
    if isinstance(header["dtype"], str) and header["dtype"] not in DTYPES:
        raise WeightsError(f"{name}: dtype {header['dtype'][:20]!r} is not known here")
    size = math.prod(shape) * DTYPES[header["dtype"]].itemsize
    if end - begin != size:
        raise ValueError("another size than its shape's")
    return Entry(header["dtype"], tuple(shape), data + begin, size)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name that is there twice")
    return found


def write_tensors(
    file: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write `state` beside `file`, then rename: a reader sees the old file or the new, never half.

    The same tensors give the same bytes, as long as `metadata` has one entry at most (the library
    writes several in no fixed order). OutputError if the place cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with beside(file) as partial_file:
        partial_file.touch()
        mode = partial_file.stat().st_mode
        save_file(tensors, partial_file, dict(metadata or {"format": "pt"}))
        partial_file.chmod(mode)  # the library makes files that only their owner can read


def write_sharded(
    folder: Path, stem: str, state: Mapping[str, Tensor], max_shard_size: int
) -> None:
    """Write `stem.safetensors`, or, past `max_shard_size` bytes, numbered shards and their index.

    A tensor larger than that gets a shard of its own. Files that an earlier save left under the
    same stem are removed, so a folder never holds two models. OutputError if it cannot be written.
    """
    shards = list(_shards(state, max_shard_size))
    count = len(shards)
    names = [f"{stem}-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    if count == 1:
        names = [f"{stem}.safetensors"]
    for name, shard in zip(names, shards, strict=True):
        write_tensors(folder / name, {key: state[key] for key in shard})
    index = folder / (stem + INDEX_SUFFIX)
    earlier = chain(folder.glob(f"{stem}.safetensors*"), folder.glob(f"{stem}-*-of-*.safetensors"))
    for old in [old for old in earlier if old.name not in names]:
        old.unlink()
    if count > 1:
        places = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        total = sum(size for shard in shards for size in shard.values())
        write_json(index, {"metadata": {"total_size": total}, "weight_map": places})


def write_json(file: Path, value: Mapping[str, Any], indent: int | None = 2) -> None:
    """Write JSON beside `file`, then rename. OutputError if the place cannot be written."""
    with beside(file) as partial_file:
        partial_file.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. MissingWeightsError if the file is not there, WeightsError if it is none."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"), parse_int=_whole)
    except (FileNotFoundError, NotADirectoryError) as failure:
        raise MissingWeightsError(f"missing {file}") from failure
    except (ValueError, RecursionError) as failure:
        raise WeightsError(f"{file}: not a JSON file: {failure}") from failure
    if not isinstance(value, dict):
        raise WeightsError(f"{file}: holds a {type(value).__name__}, an object is needed")
    return value


MOST_DIGITS = 40  # of a whole number in a JSON file; transformers' "no limit" has 31


def _whole(digits: str) -> int:
    """A whole number that a float can hold, as whoever reads it may want one."""
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


@contextmanager
def beside(file: Path) -> Iterator[Path]:
    """A place next to `file` to write to; renamed to `file` at the end, gone after a failure."""
    partial_file = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield partial_file
        partial_file.replace(file)
    except (OSError, SafetensorError) as failure:
        raise OutputError(f"{file}: cannot be written: {failure}") from failure
    finally:
        with suppress(OSError):
            partial_file.unlink()


def _shards(state: Mapping[str, Tensor], max_bytes: int) -> Iterator[dict[str, int]]:
    """Name and size of the tensors of each shard, filled in order."""
    shard: dict[str, int] = {}
    for name, tensor in state.items():
        size = tensor.numel() * tensor.element_size()
        if shard and sum(shard.values()) + size > max_bytes:
            yield shard
            shard = {}
        shard[name] = size
    yield shard


def _index(path: Path) -> Path | None:
    """The index in the folder `path`, if it has one of the usual names. One of a variant counts
    where there is neither another nor a whole file. WeightsError for several variants."""
    usual = next(
        (
            path / (stem + INDEX_SUFFIX)
            for stem in STEMS
            if (path / (stem + INDEX_SUFFIX)).is_file()
        ),
        None,
    )
    if usual is not None or any((path / f"{stem}.safetensors").is_file() for stem in STEMS):
        return usual
    variants = sorted(file for file in path.glob("*.index.*.json") if is_index(file))
    if len(variants) > 1:
        names = ", ".join(file.name for file in variants)
        raise WeightsError(f"{path}: holds several variants of a model: {names}; keep one")
    return variants[0] if variants else None


def _weight_map(index: Path) -> dict[str, str]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise WeightsError(f"{index}: has no weight_map; download it again")
    for shard in places.values():
        if not isinstance(shard, str) or not shard.isprintable() or Path(shard).name != shard:
            raise WeightsError(f"{index}: {shard!r} is not the name of a file beside it")
    return places
