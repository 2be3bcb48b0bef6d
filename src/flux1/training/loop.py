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
from typing import Literal

import torch
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
    """How long, how fast, how often. Rates: warm up, hold, then fall linearly to zero."""

    steps: int
    batch_size: int
    learning_rate: float
    matrix_learning_rate: float
    warmup_steps: int = 100
    decay_fraction: float = 0.3
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    seed: int = 0
    checkpoint_every: int = 500
    preview_every: int = 500
    log_every: int = 50
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
    when it answers true, a checkpoint is written and the run ends early.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = objective.model
    ema = Ema(model, settings.ema_decay)
    optimizers = optimizers_for(objective, settings)
    start = load_checkpoint(folder, model, ema, optimizers)
    base_rates = [[g["lr"] for g in o.param_groups] for o in optimizers_for(objective, settings)]
    if settings.compile:
        model.compile()
    precision = torch.bfloat16 if settings.precision == "bfloat16" else None

    log = (folder / "log.jsonl").open("a")
    with _progress(console, settings.steps, start) as advance, log:
        window_start, window_images = time.perf_counter(), 0
        for step in range(start, settings.steps):
            factor = rate_at(step, settings)
            for optimizer, rates in zip(optimizers, base_rates, strict=True):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
            generator = torch.Generator().manual_seed(step_seed(settings.seed, step))
            with torch.autocast("cpu", precision, enabled=precision is not None):
                loss, figures = objective.loss(objective.batch(step), generator)
            if not math.isfinite(loss.item()):
                raise DataError(
                    f"loss is {loss.item()} at step {step}; the last good state is the checkpoint "
                    f"in {folder}: lower the learning rate and run again to resume from it"
                )
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            ema.update(model)

            done = step + 1
            window_images += settings.batch_size
            if done % settings.log_every == 0 or done == settings.steps:
                elapsed = time.perf_counter() - window_start
                row = {
                    "step": done,
                    "loss": round(loss.item(), 5),
                    "grad_norm": round(float(norm), 4),
                    "images_per_s": round(window_images / elapsed, 2),
                    **{k: round(v, 5) for k, v in figures.items()},
                }
                log.write(json.dumps(row) + "\n")
                log.flush()
                window_start, window_images = time.perf_counter(), 0
            rate = window_images / max(1e-9, time.perf_counter() - window_start)
            advance(done, loss.item(), rate)
            stopping = stop_at()
            if done % settings.checkpoint_every == 0 or done == settings.steps or stopping:
                save_checkpoint(folder, done, model, ema, optimizers)
            if done % settings.preview_every == 0 or done == settings.steps:
                objective.preview(averaged(model, ema)).save(folder / f"preview-{done:06d}.png")
            if stopping:
                break
    return averaged(model, ema)


def averaged(model: Network, ema: Ema) -> Network:
    """A copy of the model that carries the averaged weights, in evaluation mode."""
    twin = copy.deepcopy(model)
    twin.load_state_dict(ema.shadow)
    return twin.eval().requires_grad_(False)


@contextmanager
def _progress(
    console: Console, total: int, start: int
) -> Iterator[Callable[[int, float, float], None]]:
    bar = Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.1f} images/s"),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        task = bar.add_task("", total=total, completed=start, loss=0.0, rate=0.0)
        yield lambda done, loss, rate: bar.update(task, completed=done, loss=loss, rate=rate)
