"""Checkpoints that are pickles (.ckpt, .pt, .bin): their tensors are mapped, and nothing in them
runs: a pickle can be a program."""

import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flux1.errors import WeightsError
from flux1.weights.files.lazy import Stored, StoredTensors, in_memory
from flux1.weights.files.mapped import MappedFile
from flux1.weights.files.unpickle import Storage, unpickled

ZIP = b"PK\x03\x04"
OLD = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))  # a pickle's first bytes
MAX_PROGRAM = 4 * 2**20  # bytes of the pickle proper; the tensors' bytes lie beside it
MAX_MEMBERS = 100_000
WRAPPERS = ("state_dict", "model", "module", "params", "weights")  # keys that hold the tensors
DAMAGE = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError,
    RecursionError, struct.error,
)  # fmt: skip


class PickleTensors(StoredTensors):
    """The tensors of a checkpoint that torch.save wrote."""

    def __init__(self, path: Path) -> None:
        """WeightsError, naming the file, if it is damaged, old, or more than tensors."""
        self.path = path
        self.files = [path]
        loaded, limit = read_pickle(path), path.stat().st_size
        super().__init__(dict(_stored(_unwrapped(loaded, path), limit, path)))


def read_pickle(path: Path, mapped: bool = True) -> Any:
    """What torch.save wrote: containers, words, numbers, and tensors, which are `mapped` from the
    file or have memory of their own.

    WeightsError, naming the file, if it is damaged, of before torch 1.6, or more than that.
    """
    file = MappedFile(path)
    try:
        with zipfile.ZipFile(path) as archive:
            program, places = _members(archive, path)
            return unpickled(archive.read(program), _Numbers(file, places, mapped).tensor)
    except WeightsError as failure:
        if str(path) in str(failure):
            raise
        raise WeightsError(f"{path}: {failure}") from failure
    except (zipfile.BadZipFile, OSError, NotImplementedError) as failure:
        raise WeightsError(
            f"{path}: a damaged pickle, or one of before torch 1.6, which is not read; "
            "ask for a safetensors file"
        ) from failure
    except DAMAGE as failure:
        raise WeightsError(f"{path}: a damaged pickle; download it again") from failure


def _members(
    archive: zipfile.ZipFile, path: Path
) -> tuple[zipfile.ZipInfo, dict[str, zipfile.ZipInfo]]:
    """The pickle proper, and the storages by key. WeightsError unless the file is torch's archive,
    not packed, with a pickle of sane size."""
    members = archive.infolist()
    programs = [member for member in members if member.filename.endswith("/data.pkl")]
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    sane = len(programs) == 1 and not packed and len(members) <= MAX_MEMBERS
    if not sane or programs[0].file_size > MAX_PROGRAM:
        raise WeightsError(f"{path}: a zip file, but no checkpoint of torch's")
    stem = programs[0].filename.removesuffix("data.pkl")
    order = next((m for m in members if m.filename == f"{stem}byteorder"), None)
    if order is not None and archive.read(order) != b"little":
        raise WeightsError(f"{path}: a pickle of a big-endian machine cannot be read")
    under = f"{stem}data/"
    found = {m.filename.removeprefix(under): m for m in members if m.filename.startswith(under)}
    return programs[0], found


class _Numbers:
    """The storages of an archive, as parts of one mapping of the file."""

    def __init__(
        self, file: MappedFile, places: Mapping[str, zipfile.ZipInfo], mapped: bool
    ) -> None:
        self._places, self._mapped = places, mapped
        self._bytes = file.tensor(0, torch.uint8, (file.size,))

    def tensor(
        self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> Tensor:
        """A tensor of a storage. ValueError if the storage or the file ends before it does."""
        if 0 in shape:
            return torch.empty(shape, dtype=storage.dtype)
        reach = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if reach >= storage.count:
            raise ValueError("a tensor longer than its storage")
        part = self._storage(storage)
        found = part.as_strided(shape, strides, part.storage_offset() + offset)
        return found if self._mapped else self._copied(found)

    def _copied(self, tensor: Tensor) -> Tensor:
        if tensor.nbytes > len(self._bytes):
            raise ValueError("a tensor larger than the file")
        return tensor.clone()

    def _storage(self, storage: Storage) -> Tensor:
        member, size = self._places[storage.key], storage.count * storage.dtype.itemsize
        if size > member.file_size:
            raise ValueError("a storage longer than its member")
        start = member.header_offset
        header = bytes(self._bytes[start : start + 30].tolist())
        name, extra = struct.unpack("<HH", header[26:30])
        start += 30 + name + extra
        if start + size > len(self._bytes):
            raise ValueError("a storage that the file ends before")
        part = self._bytes[start : start + size]
        return (part if start % storage.dtype.itemsize == 0 else part.clone()).view(storage.dtype)


def _unwrapped(loaded: Any, path: Path) -> Mapping[str, Any]:
    """The mapping that holds the tensors: the checkpoint itself, or what a trainer put inside."""
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path}: a pickle of a {type(loaded).__name__}, not of named tensors")
    return loaded


def _stored(found: Mapping[str, Any], limit: int, path: Path) -> Iterator[tuple[str, Stored]]:
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            continue  # a trainer's step count and the like
        if tensor.is_nested or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise WeightsError(f"{path}: {name} is no plain tensor")
        stored = in_memory(tensor)
        if stored.size > limit:
            raise WeightsError(f"{path}: {name} claims {stored.size} bytes, the file has {limit}")
        yield name, stored
