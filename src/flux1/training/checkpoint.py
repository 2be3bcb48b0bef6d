"""Checkpoints that resume bit for bit: written beside, then renamed; one file holds all state.

A run on several processes writes the same file as a run on one, and goes on from it.
"""

import os
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from flux1.errors import DataError, OutputError
from flux1.training.distributed import ALONE, World, collected, divided_like
from flux1.training.ema import Ema

FILE = "checkpoint.pt"


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    ema: Ema,
    optimizers: list[torch.optim.Optimizer],
    world: World = ALONE,
) -> None:
    """OutputError if the place cannot be written (a full disk): the checkpoint before is kept."""
    state = {
        "step": step,
        "model": collected(model.state_dict()),
        "ema": collected(ema.state_dict()),
        "optimizers": [collected(o.state_dict()) for o in optimizers],
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
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(_divided(state["model"], model.state_dict()))
        ema.load_state_dict(_divided(state["ema"], ema.state_dict()))
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            _divide_moments(saved, optimizer)
            optimizer.load_state_dict(saved)
    except (RuntimeError, KeyError, ValueError, EOFError, UnpicklingError) as failure:
        raise DataError(
            f"{path} does not continue this run ({str(failure).splitlines()[0]}): "
            "train into another folder, or remove it to start again"
        ) from failure
    return int(state["step"])


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
    return str(failure).splitlines()[0]
