"""The LoRAs that a pipeline keeps ready: read once, beside the transformer's layers until unloaded.

A loaded LoRA costs only its own memory until a picture asks for it, and pictures with different
LoRAs share a model call; so loading, swapping and unloading rebuild nothing. What was loaded by
name stays until it is unloaded; of files that requests named, those used last stay.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import torch

from flux1.errors import RequestError, WeightsError, nearest
from flux1.model.config import TransformerConfig
from flux1.model.lora import Lora
from flux1.model.transformer import Transformer
from flux1.pipeline.job import Job
from flux1.request import LoraUse
from flux1.weights.lora.read import read_lora

KEPT = 8  # files that requests named
_log = logging.getLogger("flux1")


@dataclass(frozen=True)
class LoadedLora:
    """A LoRA in place, from the file or folder that was `given`. `about` is the line that was said
    when it was loaded. It `stays` until it is unloaded, or until others are used instead."""

    given: Path
    path: Path
    sha256: str
    about: str
    branches: Lora
    state: tuple[int, int]  # of the file when it was read: time of its last change, size
    stays: bool
    size: int  # of its file


class Loras:
    """The loaded LoRAs of one transformer, by name."""

    def __init__(self, config: TransformerConfig, device: torch.device, dtype: torch.dtype) -> None:
        """For a transformer of this shape, which is not there yet."""
        self._config, self._device, self._dtype = config, device, dtype
        self._transformer: Transformer | None = None
        self._loaded: dict[str, LoadedLora] = {}  # those used last at the end
        self._drawn: WeakKeyDictionary[Job, set[str]] = WeakKeyDictionary()

    def __getitem__(self, name: str) -> LoadedLora:
        """RequestError names the nearest one that is loaded."""
        if name not in self._loaded:
            close = nearest(name, self._loaded)
            raise RequestError("loras", f"no LoRA {name!r} is loaded{close}")
        return self._loaded[name]

    @property
    def file_bytes(self) -> int:
        """The bytes that the files of the loaded LoRAs take on disk."""
        return sum(loaded.size for loaded in self._loaded.values())

    def attach(self, transformer: Transformer) -> None:
        """The transformer has come: hang on it what is loaded, and from now on what will be."""
        self._transformer = transformer
        for loaded in self._loaded.values():
            loaded.branches.attach(transformer)

    def detach(self) -> None:
        """The transformer leaves; what is loaded waits for the next."""
        self._transformer = None
        for loaded in self._loaded.values():
            loaded.branches.detach()

    def load(self, path: Path, name: str, stays: bool = True) -> None:
        """Read a file and put it in place; one of the same name leaves when that has succeeded.

        MissingWeightsError, or WeightsError if it does not fit the transformer or changes nothing.
        """
        state = _state(path)
        found = read_lora(path, self._config)
        if found.wide:
            raise WeightsError(
                f"{path}: a control LoRA: it follows a second picture, and none can be given yet"
            )
        branches = Lora(self._transformer, found.deltas, self._device, self._dtype)
        if name in self._loaded:
            self.unload(name)
        size = found.path.stat().st_size
        self._loaded[name] = LoadedLora(
            path, found.path, found.sha256, str(found), branches, state, stays, size
        )
        _log.warning("%s", found)

    def unload(self, name: str) -> None:
        """Take a LoRA away: the transformer is what it was. RequestError if it is not there."""
        self[name].branches.detach()
        del self._loaded[name]

    def prepare(self, uses: Sequence[LoraUse]) -> None:
        """Load those that are files and not loaded yet, or were written since; of the others that
        came so, only the KEPT used last stay, and those of pictures that are being drawn. Errors of
        `load`."""
        for use in uses:
            path, loaded = Path(use.name), self._loaded.get(use.name)
            if loaded is None and not os.path.exists(path):  # false for what no file can be called
                close = nearest(use.name, self._loaded)
                raise RequestError(
                    "loras", f"no LoRA {use.name!r} is loaded{close}, and no such file is there"
                )
            if loaded is None or (path == loaded.given and loaded.state != _state(path)):
                self.load(path, use.name, stays=loaded is not None and loaded.stays)
            self._loaded[use.name] = self._loaded.pop(use.name)
        self._drop({use.name for use in uses})

    def draws(self, job: Job, uses: Sequence[LoraUse]) -> None:
        """Until it is done, a picture's LoRAs stay."""
        self._drawn[job] = {use.name for use in uses}

    def taken(self, uses: Sequence[LoraUse]) -> tuple[tuple[Lora, float], ...]:
        """The LoRAs that a picture takes; none at scale 0, so that it is the picture without it,
        bit for bit.

        RequestError if one is not loaded.
        """
        found = [(self[use.name].branches, use.scale) for use in uses]
        return tuple((branches, scale) for branches, scale in found if scale)

    def _drop(self, wanted: set[str]) -> None:
        """Unload what was used longest ago, but for what is wanted or being drawn with."""
        came = [name for name, lora in self._loaded.items() if not lora.stays]
        busy = wanted.union(*(names for job, names in self._drawn.items() if not job.done))
        for name in [name for name in came[: max(0, len(came) - KEPT)] if name not in busy]:
            self.unload(name)
            _log.info("%s: unloaded, %d others were used since", name, KEPT)


def _state(path: Path) -> tuple[int, int]:
    """The time of a file's last change, and its size: another pair means that it was written again.
    (0, 0) if there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
