"""The training loop. It knows no objective: it steps, averages, logs, checkpoints, resumes.

Everything random in step n is a function of (seed, n) alone, so a run that was interrupted and
resumed gives the same bits as one that was not (on CPU, with the same number of threads).
"""

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from flux1.errors import DataError
from flux1.training.checkpoint import load_checkpoint, save_checkpoint
from flux1.training.ema import Ema
from flux1.training.muon import Muon
from flux1.training.objective import Network, Objective


@dataclass(frozen=True)
class LoopSettings:
    """How long, how fast, how often. Rates: warm up, hold, then fall linearly to zero.

    `learning_rate` is AdamW's, `matrix_learning_rate` Muon's. `precision` is that of the matrix
    products; weights, moments and averages are always float32.
    """

    steps: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    matrix_learning_rate: PositiveFloat
    warmup_steps: NonNegativeInt = 100
    decay_fraction: Annotated[float, Field(ge=0, le=1)] = 0.3
    weight_decay: NonNegativeFloat = 0.01
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    clip_norm: PositiveFloat = 1.0
    seed: NonNegativeInt = 0
    checkpoint_every: PositiveInt = 500
    preview_every: PositiveInt = 500
    log_every: PositiveInt = 50
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False


def rate_at(step: int, settings: LoopSettings) -> float:
    """Multiplier of the learning rate at a step, in [0, 1]."""
    decay_steps = max(1, round(settings.steps * settings.decay_fraction))
    warm = (step + 1) / max(1, settings.warmup_steps)
    fall = (settings.steps - step) / decay_steps
    return max(0.0, min(1.0, warm, fall))


def optimizers_for(
    objective: Objective[Network], settings: LoopSettings
) -> list[torch.optim.Optimizer]:
    groups = objective.groups()
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            groups.others,
            lr=settings.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
        )
    ]
    if groups.matrices:
        made.append(
            Muon(
                groups.matrices,
                lr=settings.matrix_learning_rate,
                weight_decay=settings.weight_decay,
                dtype=getattr(torch, settings.precision),
            )
        )
    return made


def step_seed(seed: int, step: int) -> int:
    """A 63-bit seed for one step (splitmix64 of the pair), independent of all other steps."""
    mask = (1 << 64) - 1
    z = (seed * 0x9E3779B97F4A7C15 + step + 1) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return (z ^ (z >> 31)) >> 1


def train(
    objective: Objective[Network],
    settings: LoopSettings,
    folder: Path,
    console: Console,
    stop_at: Callable[[], bool] = lambda: False,
) -> Network:
    """Run to `settings.steps`, from the last checkpoint in `folder` if there is one.

    Returns a copy of the model with the averaged weights. `stop_at` is asked after each step;
    when it answers true, a checkpoint is written and the run ends early. DataError, with the
    checkpoint as it was, if loss or gradient stop being finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = objective.model
    ema = Ema(model, settings.ema_decay)
    optimizers = optimizers_for(objective, settings)
    full_rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    start = load_checkpoint(folder, model, ema, optimizers)
    if settings.compile:
        model.compile()

    with (
        _progress(console, settings.steps, start, objective.unit) as advance,
        Log(folder, settings, objective.unit) as log,
    ):
        for step in range(start, settings.steps):
            _set_rates(optimizers, full_rates, rate_at(step, settings))
            loss, norm, figures = _step(objective, optimizers, settings, step)
            ema.update(model)

            done = step + 1
            advance(done, loss, log.add(done, {"loss": loss, "grad_norm": norm, **figures}))
            stopping, last = stop_at(), done == settings.steps
            if done % settings.checkpoint_every == 0 or last or stopping:
                save_checkpoint(folder, done, model, ema, optimizers)
            if done % settings.preview_every == 0 or last:
                objective.preview(averaged(model, ema)).save(folder / f"preview-{done:06d}.png")
            if stopping:
                break
    return averaged(model, ema)


def _set_rates(
    optimizers: list[torch.optim.Optimizer], full_rates: list[float], factor: float
) -> None:
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    for group, rate in zip(groups, full_rates, strict=True):
        group["lr"] = rate * factor


def _step(
    objective: Objective[Network],
    optimizers: list[torch.optim.Optimizer],
    settings: LoopSettings,
    step: int,
) -> tuple[float, float, dict[str, float]]:
    """One update of the weights; returns the loss, the gradient's norm and the log's figures."""
    parameters = list(objective.model.parameters())
    generator = torch.Generator().manual_seed(step_seed(settings.seed, step))
    narrow = settings.precision == "bfloat16"
    with torch.autocast(parameters[0].device.type, torch.bfloat16, enabled=narrow):
        loss, figures = objective.loss(objective.batch(step), generator)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(parameters, settings.clip_norm).item()
    if not (math.isfinite(loss.item()) and math.isfinite(norm)):
        raise DataError(
            f"loss {loss.item()} and gradient norm {norm} at step {step}; the last checkpoint is "
            "as it was: lower the learning rate and run again to go on from it"
        )
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item(), norm, figures


class Log:
    """`log.jsonl`: a row every `log_every` steps, with the speed since the last one."""

    def __init__(self, folder: Path, settings: LoopSettings, unit: str) -> None:
        self._settings, self._unit = settings, unit
        self._file = (folder / "log.jsonl").open("a")
        self._since, self._count, self._rate = time.perf_counter(), 0, 0.0

    def add(self, done: int, figures: dict[str, float]) -> float:
        """Count a step, write it if it is its turn; returns how many of them a second."""
        self._count += self._settings.batch_size
        now = time.perf_counter()
        self._rate = self._count / max(1e-9, now - self._since)
        if done % self._settings.log_every == 0 or done == self._settings.steps:
            row = {"step": done, f"{self._unit}_per_s": self._rate, **figures}
            self._file.write(json.dumps({k: round(v, 5) for k, v in row.items()}) + "\n")
            self._file.flush()
            self._since, self._count = now, 0
        return self._rate

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def averaged(model: Network, ema: Ema) -> Network:
    """A copy of the model that carries the averaged weights, in evaluation mode."""
    twin = copy.deepcopy(model)
    twin.load_state_dict(ema.shadow)
    return twin.eval().requires_grad_(False)


@contextmanager
def _progress(
    console: Console, total: int, start: int, unit: str
) -> Iterator[Callable[[int, float, float], None]]:
    bar = Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"loss {{task.fields[loss]:.4f}}  {{task.fields[rate]:.1f}} {unit}/s"),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        task = bar.add_task("", total=total, completed=start, loss=0.0, rate=0.0)
        yield lambda done, loss, rate: bar.update(task, completed=done, loss=loss, rate=rate)
