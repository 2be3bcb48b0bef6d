"""The LoRAs that a pipeline keeps ready: read once, beside the transformer's layers until unloaded.

A loaded LoRA costs nothing until a picture asks for it, and pictures with different LoRAs share a
model call; so loading, swapping and unloading rebuild nothing.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flux1.errors import RequestError, WeightsError, nearest
from flux1.model.lora import Lora
from flux1.model.transformer import Transformer
from flux1.request import LoraUse
from flux1.weights.lora import read_lora

_log = logging.getLogger("flux1")


@dataclass(frozen=True)
class LoadedLora:
    """A LoRA in place, from the file or folder that was `given`. `about` is the line that was said
    when it was loaded."""

    given: Path
    path: Path
    sha256: str
    about: str
    branches: Lora
    state: tuple[int, int]  # of the file when it was read: time of its last change, size


class Loras:
    """The loaded LoRAs of one transformer, by name."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._loaded: dict[str, LoadedLora] = {}

    def __getitem__(self, name: str) -> LoadedLora:
        """RequestError names the nearest one that is loaded."""
        if name not in self._loaded:
            close = nearest(name, self._loaded)
            raise RequestError("loras", f"no LoRA {name!r} is loaded{close}")
        return self._loaded[name]

    def load(self, path: Path, name: str) -> None:
        """Read a file and put it in place; one of the same name leaves when that has succeeded.

        MissingWeightsError, or WeightsError if it does not fit the transformer or changes nothing.
        """
        state = _state(path)
        found = read_lora(path, self._transformer.config)
        if found.wide:
            raise WeightsError(
                f"{path}: a control LoRA: it follows a second picture, and none can be given yet"
            )
        weight = self._transformer.img_in.weight
        branches = Lora(self._transformer, found.deltas, weight.device, weight.dtype)
        if name in self._loaded:
            self.unload(name)
        self._loaded[name] = LoadedLora(path, found.path, found.sha256, str(found), branches, state)
        _log.warning("%s", found)

    def unload(self, name: str) -> None:
        """Take a LoRA away: the transformer is what it was. RequestError if it is not there."""
        self[name].branches.detach()
        del self._loaded[name]

    def prepare(self, uses: Sequence[LoraUse]) -> None:
        """Load those that are files and not loaded yet, or were written since. Errors of `load`."""
        for use in uses:
            path, loaded = Path(use.name), self._loaded.get(use.name)
            if loaded is None and not os.path.exists(path):  # false for what no file can be called
                close = nearest(use.name, self._loaded)
                raise RequestError(
                    "loras", f"no LoRA {use.name!r} is loaded{close}, and no such file is there"
                )
            if loaded is None or (path == loaded.given and loaded.state != _state(path)):
                self.load(path, use.name)

    def taken(self, uses: Sequence[LoraUse]) -> tuple[tuple[Lora, float], ...]:
        """What a picture takes; at scale 0 nothing, so that it is the picture without, bit for bit.

        RequestError if one is not loaded.
        """
        found = [(self[use.name].branches, use.scale) for use in uses]
        return tuple((branches, scale) for branches, scale in found if scale)


def _state(path: Path) -> tuple[int, int]:
    """What tells that a file was written again; (0, 0) if there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
