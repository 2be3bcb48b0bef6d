"""Writes a run's figures: a file of JSON lines always, TensorBoard and Weights & Biases if asked.

The two are imported when they are asked for, and not before.
"""

import json
import math
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from flux1.errors import DataError, DependencyError, OutputError, nearest

LOGGERS = ("tensorboard", "wandb")


@runtime_checkable
class Logger(Protocol):
    """One place for figures and pictures of a run. OutputError if it is a file that cannot be
    written."""

    def figures(self, step: int, row: Mapping[str, float]) -> None: ...

    def picture(self, step: int, picture: Image.Image) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """`log.jsonl`: a row a line. Rows of steps that are to come again are taken out."""

    def __init__(self, folder: Path, start: int) -> None:
        self._path = folder / "log.jsonl"
        with written(self._path):
            if self._path.exists():
                lines = self._path.read_text().splitlines()
                kept = [line + "\n" for line in lines if _step(line) <= start]
                self._path.write_text("".join(kept))
            self._file = self._path.open("ab", buffering=0)

    def figures(self, step: int, row: Mapping[str, float]) -> None:
        finite = {
            name: float(f"{value:.7g}") for name, value in row.items() if math.isfinite(value)
        }
        line = (json.dumps({"step": step, **finite}) + "\n").encode()
        with written(self._path):
            while line:
                line = line[self._file.write(line) :]

    def picture(self, step: int, picture: Image.Image) -> None:
        """Pictures are files of their own in the run's folder."""

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files in `tensorboard/`, for `tensorboard --logdir`."""

    def __init__(self, folder: Path, start: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as missing:
            raise _needs("tensorboard") from missing
        place = str(folder / "tensorboard")
        self._writer = SummaryWriter(place, purge_step=start + 1)

    def figures(self, step: int, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, picture: Image.Image) -> None:
        pixels = np.asarray(picture)
        self._writer.add_image("preview", pixels, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of the project `flux1`; resumed, it goes on in the same one."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ModuleNotFoundError as missing:
            raise _needs("wandb") from missing
        kept = folder / "wandb-id"
        if not kept.exists():
            kept.write_text(uuid.uuid4().hex)
        self._wandb = wandb
        self._run = wandb.init(
            project="flux1",
            name=folder.name,
            dir=str(folder),
            id=kept.read_text(),
            resume="allow",
            config=dict(settings),
        )

    def figures(self, step: int, row: Mapping[str, float]) -> None:
        self._run.log(dict(row), step=step)

    def picture(self, step: int, picture: Image.Image) -> None:
        self._run.log({"preview": self._wandb.Image(picture)}, step=step)

    def close(self) -> None:
        self._run.finish()


@contextmanager
def written(path: Path) -> Iterator[None]:
    """OutputError, naming the path, where writing to it fails."""
    try:
        yield
    except OSError as failure:
        raise OutputError(f"{path}: cannot be written: {failure.strerror}") from failure


def check_loggers(names: Sequence[str]) -> None:
    """DataError for a name that is none, DependencyError for a library that is not there."""
    from importlib.util import find_spec

    for name in names:
        if name not in LOGGERS:
            raise DataError(
                f"logger: {name!r} is not one of {', '.join(LOGGERS)}{nearest(name, LOGGERS)}"
            )
        if find_spec(name) is None:
            raise _needs(name)


def open_loggers(
    names: Sequence[str], folder: Path, start: int, settings: Mapping[str, Any]
) -> list[Logger]:
    """The JSON lines and those that are named, for a run that has done `start` steps."""
    opened: list[Logger] = [JsonLines(folder, start)]
    if "tensorboard" in names:
        opened.append(TensorBoard(folder, start))
    if "wandb" in names:
        opened.append(WeightsAndBiases(folder, settings))
    return opened


class Pace:
    """The speed of a run: things a second since the last row, and what the data alone would do."""

    def __init__(self, batch_size: int) -> None:
        self._size = batch_size
        self._since, self._count, self._waited = time.perf_counter(), 0, 0.0
        self.rate = self.data_rate = 0.0

    def add(self, waited: float) -> None:
        """Count a step that waited so many seconds for its batch."""
        self._count += self._size
        self._waited += waited
        self.rate = self._count / max(1e-9, time.perf_counter() - self._since)
        self.data_rate = self._count / max(1e-9, self._waited)

    def restart(self) -> None:
        self._since, self._count, self._waited = time.perf_counter(), 0, 0.0


def _step(line: str) -> float:
    """The step of a row, beyond all steps if the line was cut short."""
    with suppress(ValueError, KeyError, TypeError):
        return float(json.loads(line)["step"])
    return math.inf


def _needs(name: str) -> DependencyError:
    return DependencyError(f"logger: {name}", name, name)
