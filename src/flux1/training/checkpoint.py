"""Checkpoints that resume bit for bit: written beside, then renamed; one file holds all state."""

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from flux1.errors import DataError
from flux1.training.ema import Ema

FILE = "checkpoint.pt"


def save_checkpoint(
    folder: Path, step: int, model: nn.Module, ema: Ema, optimizers: list[torch.optim.Optimizer]
) -> None:
    state = {
        "step": step,
        "model": model.state_dict(),
        "ema": ema.state_dict(),
        "optimizers": [o.state_dict() for o in optimizers],
    }
    partial = folder / (FILE + ".partial")
    torch.save(state, partial)
    partial.replace(folder / FILE)


def load_checkpoint(
    folder: Path, model: nn.Module, ema: Ema, optimizers: list[torch.optim.Optimizer]
) -> int:
    """Restore everything in place; returns the finished steps (0 without a checkpoint)."""
    path = folder / FILE
    if not path.exists():
        return 0
    try:
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    except (RuntimeError, KeyError, ValueError, EOFError, UnpicklingError) as failure:
        raise DataError(
            f"{path} does not continue this run ({str(failure).splitlines()[0]}): "
            "train into another folder, or remove it to start again"
        ) from failure
    return int(state["step"])
