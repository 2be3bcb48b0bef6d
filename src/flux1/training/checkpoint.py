"""Checkpoints that resume bit for bit: written beside, then renamed; one file holds all state.

A run on several processes writes the same file as a run on one, and goes on from it.
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flux1.errors import DataError, OutputError, WeightsError
from flux1.training.distributed import ALONE, World, collected, divided_like
from flux1.training.ema import Ema
from flux1.weights.files.pickles import read_pickle

FILE = "checkpoint.pt"
NUMBERED = "checkpoint-{:06d}.pt"
DAMAGED = (
    WeightsError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
)


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    ema: Ema,
    optimizers: list[torch.optim.Optimizer],
    world: World = ALONE,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write everything that the run needs to go on, and `about` it what a reader of the file needs.

    OutputError if the place cannot be written (a full disk): the checkpoint before is kept.
    """
    state = {
        "step": step,
        "model": collected(model.state_dict()),
        "ema": collected(ema.state_dict()),
        "optimizers": [collected(o.state_dict()) for o in optimizers],
        "about": dict(about or {}),
    }
    if not world.first:
        return
    partial = folder / (FILE + ".partial")
    try:
        with partial.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())  # a new name must not come to the disk before its bytes
        partial.replace(folder / FILE)
    except (OSError, RuntimeError) as failure:
        with suppress(OSError):
            partial.unlink()
        kept = "the one before is kept" if (folder / FILE).exists() else "there is none before it"
        raise OutputError(
            f"{folder / FILE}: the checkpoint of step {step} cannot be written "
            f"({_cause(failure)}), {kept}; make room and run the same again to go on from there"
        ) from failure


def load_checkpoint(
    folder: Path, model: nn.Module, ema: Ema, optimizers: list[torch.optim.Optimizer]
) -> int:
    """Restore everything in place; returns the finished steps (0 without a checkpoint)."""
    path = folder / FILE
    if not path.exists():
        return 0
    try:
        state = read_pickle(path, mapped=False)
        model.load_state_dict(_divided(state["model"], model.state_dict()))
        ema.load_state_dict(_divided(state["ema"], ema.state_dict()))
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            _divide_moments(saved, optimizer)
            optimizer.load_state_dict(saved)
    except DAMAGED as failure:
        raise DataError(
            f"{path} does not continue this run ({_cause(failure)}): "
            "train into another folder, or remove it to start again"
        ) from failure
    return int(state["step"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Everything in a checkpoint; its tensors are read when they are used. DataError if the file is
    damaged or something else."""
    try:
        state: dict[str, Any] = read_pickle(path)
        if type(state["step"]) is not int or state["step"] < 0:
            raise ValueError("it has no step")
    except (*DAMAGED, OSError) as failure:
        raise DataError(f"{path}: is no checkpoint of a run ({_cause(failure)})") from failure
    return state


def finished_steps(folder: Path) -> int:
    """The steps that the last checkpoint in a folder has behind it, 0 if there is none."""
    path = folder / FILE
    return int(read_checkpoint(path)["step"]) if path.exists() else 0


def keep_numbered(folder: Path, step: int) -> None:
    """Let the last checkpoint, which is of that step, be kept when the next one replaces it."""
    put_beside(folder / FILE, folder / NUMBERED.format(step))


def numbered_steps(folder: Path) -> list[int]:
    """The steps of the checkpoints that were kept, in order."""
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("checkpoint-[0-9]*.pt"))


def put_beside(file: Path, place: Path) -> None:
    """One more name for a file that is only ever replaced, never changed; a copy where the file
    system has no links. OutputError if it cannot be written."""
    partial = place.with_name(place.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        try:
            os.link(file, partial)
        except OSError:
            shutil.copyfile(file, partial)
        partial.replace(place)
        partial.unlink(missing_ok=True)  # two names of one file: nothing was renamed
    except OSError as failure:
        raise OutputError(f"{place}: cannot be written: {failure.strerror}") from failure


def _divided(state: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A state in the shares in which the state `own` lies."""
    return {
        name: divided_like(value, own[name]) if isinstance(own.get(name), Tensor) else value
        for name, value in state.items()
    }


def _divide_moments(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """An optimizer's moments lie as the parameters do that they are of."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, moments in saved["state"].items():
        for name, value in moments.items():
            if isinstance(value, Tensor) and value.shape == parameters[number].shape:
                moments[name] = divided_like(value, parameters[number])


def _cause(failure: BaseException) -> str:
    """The system's own word for what went wrong, where torch has wrapped it."""
    inner: BaseException | None = failure
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__context__
    return (str(failure).splitlines() or [type(failure).__name__])[0]
