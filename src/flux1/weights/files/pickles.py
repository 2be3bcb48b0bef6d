"""Checkpoints that are pickles (.ckpt, .pt, .bin): read only where nothing in them has to run.

`torch.load(weights_only=True)` reads tensors and plain containers, and refuses any other name; the
tensors stay mapped. What it refuses is refused here: a pickle can be a program.
"""

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flux1.errors import WeightsError
from flux1.weights.files.lazy import Stored, StoredTensors, in_memory

ZIP = b"PK\x03\x04"
OLD = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))  # a pickle's first bytes
MAX_PROGRAM = 100_000_000  # bytes of the pickle proper; the tensors' bytes lie beside it
WRAPPERS = ("state_dict", "model", "module", "params", "weights")  # keys that hold the tensors


class PickleTensors(StoredTensors):
    """The tensors of a checkpoint that torch.save wrote."""

    def __init__(self, path: Path) -> None:
        """WeightsError, naming the file, if it is damaged, old, or more than tensors."""
        self.path = path
        self.files = [path]
        _check_archive(path)
        try:
            loaded = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except pickle.UnpicklingError as failure:
            names = re.findall(r"GLOBAL ([\w.]+)", str(failure))
            what = f" ({names[0]})" if names else ""
            raise WeightsError(
                f"{path}: this pickle holds more than tensors{what} and could run a program: "
                "refused; ask for a safetensors file"
            ) from failure
        except Exception as failure:  # the library meets damage with errors of many kinds
            raise WeightsError(f"{path}: a damaged pickle; download it again") from failure
        limit = path.stat().st_size
        super().__init__(dict(_stored(_unwrapped(loaded, path), limit, path)))


def _check_archive(path: Path) -> None:
    """WeightsError unless the file is torch's archive, not packed, with a pickle of sane size."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as failure:
        raise WeightsError(
            f"{path}: a damaged pickle, or one of before torch 1.6, which is not read; "
            "ask for a safetensors file"
        ) from failure
    programs = [member for member in members if member.filename.endswith("/data.pkl")]
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if len(programs) != 1 or packed or programs[0].file_size > MAX_PROGRAM:
        raise WeightsError(f"{path}: a zip file, but no checkpoint of torch's")


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
