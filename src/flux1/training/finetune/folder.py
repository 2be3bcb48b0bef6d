"""A run's folder: what was begun in it, what may be changed on the way, and how it goes back.

Most settings decide every step, so a run goes on with the ones that it was begun with. The number
of steps decides none of them, and AdamW's moments hold for any learning rate: these two may change.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from flux1.errors import DataError, OutputError
from flux1.training.checkpoint import (
    FILE,
    NUMBERED,
    finished_steps,
    numbered_steps,
    put_beside,
)
from flux1.training.finetune.settings import FinetuneSettings
from flux1.weights.files.safetensors import read_json, write_json

RUN_FILE, LOG_FILE = "run.json", "log.jsonl"
LORA_FILE, NUMBERED_LORA = "lora.safetensors", "lora-{:06d}.safetensors"
MAY_CHANGE = ("steps", "learning_rate")
CHANGES = "changes"  # the key of what was changed, and from which step on
DEFAULTS = {one.name: one.default for one in fields(FinetuneSettings) if one.default is not MISSING}


@dataclass(frozen=True)
class RunFolder:
    """A folder, and what the run that is about to go on in it was asked. `from_step` names a
    checkpoint that was kept, or 0 for the very beginning; None is the last one."""

    path: Path
    model_hash: str
    settings: FinetuneSettings
    from_step: int | None = None

    def check(self) -> None:
        """DataError if the run cannot go on here, whatever its pictures are."""
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"out: {self.path} is a file, a folder is to be written")
        self._check_same(self._asked())
        start = self._start()
        if self.settings.steps < start:
            raise DataError(
                f"steps: {self.settings.steps} is fewer than the {start} that {self.path} has done;"
                f" nearest: {start}, or an earlier checkpoint with --from-step"
            )

    def claim(self, pictures: str) -> Iterator[str]:
        """Keep what the run was begun with and what is changed from here on, go back if that was
        asked, and yield what is to be said of it. `pictures` is their digest. DataError if other
        pictures were learnt here."""
        mine = self._asked() | {"pictures": pictures}
        self._check_same(mine)
        start, theirs = self._start(), self._begun()
        if self.from_step is not None and finished_steps(self.path):
            yield f"goes back to step {start}; what came after it lies in {self._set_aside(start)}"
        changed = {
            name: [theirs[name], mine[name]]
            for name in MAY_CHANGE
            if name in theirs and theirs[name] != mine[name]
        }
        changes = [one for one in theirs.get(CHANGES, []) if one["from_step"] <= start]
        if start and changed:
            changes.append({"from_step": start, **changed})
            for name, (old, new) in changed.items():
                yield f"from step {start} on, {name.replace('_', ' ')} {new} (before: {old})"
        write_json(self.path / RUN_FILE, mine | ({CHANGES: changes} if changes else {}))

    def _asked(self) -> dict[str, Any]:
        return _as_json({"model": self.model_hash, **asdict(self.settings)})

    def _begun(self) -> dict[str, Any]:
        """Return what the run was begun with; a setting that did not exist then had its default."""
        path = self.path / RUN_FILE
        return _as_json(DEFAULTS) | read_json(path) if path.exists() else {}

    def _check_same(self, mine: dict[str, Any]) -> None:
        theirs = self._begun()
        changed = [
            name
            for name in mine
            if theirs and name not in MAY_CHANGE and mine[name] != theirs.get(name)
        ]
        if changed:
            raise DataError(
                f"out: {self.path} was begun with other {', '.join(changed)} (see {RUN_FILE}): "
                "choose another folder with --out, or go on as it was"
            )

    def _start(self) -> int:
        """The steps that are done where the run goes on. DataError if that was not kept."""
        if self.from_step is None:
            return finished_steps(self.path)
        kept = [0, *numbered_steps(self.path)]
        if self.from_step not in kept:
            near = min(kept, key=lambda step: abs(step - (self.from_step or 0)))
            raise DataError(
                f"from_step: {self.from_step} was not kept in {self.path}; it has "
                f"{', '.join(map(str, kept))}; nearest: {near}"
            )
        return self.from_step

    def _set_aside(self, step: int) -> Path:
        """Move what came after a step into a folder of its own, and take that step's checkpoint."""
        place = _free(self.path / f"before-going-back-to-{step:06d}")
        later = [one for one in numbered_steps(self.path) if one > step]
        names = [form.format(one) for one in later for form in (NUMBERED, NUMBERED_LORA)]
        try:
            place.mkdir(parents=True)
            for name in _there(self.path, [FILE, LORA_FILE, *names]):
                (self.path / name).rename(place / name)
            for name in _there(self.path, [LOG_FILE, RUN_FILE]):
                shutil.copyfile(self.path / name, place / name)
        except OSError as failure:
            raise OutputError(f"{place}: cannot be written: {failure.strerror}") from failure
        for form, last in ((NUMBERED, FILE), (NUMBERED_LORA, LORA_FILE)):
            for name in _there(self.path, [form.format(step)]):
                put_beside(self.path / name, self.path / last)
        return place


def _there(folder: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if (folder / name).exists()]


def _free(place: Path) -> Path:
    """The path, or with the first number that is free."""
    number, free = 1, place
    while free.exists():
        number += 1
        free = place.with_name(f"{place.name}-{number}")
    return free


def _as_json(value: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from a file: tuples are lists there."""
    back: dict[str, Any] = json.loads(json.dumps(value))
    return back
