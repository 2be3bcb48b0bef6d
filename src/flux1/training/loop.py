"""The training loop. It knows no objective: it steps, averages, logs, checkpoints, resumes.

Everything random in step n is a function of (seed, n) alone, so a run that was interrupted and
resumed gives the same bits as one that was not (on CPU, with the same number of threads).
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from PIL import Image
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from rich.console import Console
from torch import nn
from torch.distributed.tensor import DTensor

from flux1.errors import DataError
from flux1.training.adamw8bit import AdamW8bit
from flux1.training.checkpoint import keep_numbered, load_checkpoint, save_checkpoint
from flux1.training.distributed import ALONE, World
from flux1.training.ema import Ema
from flux1.training.log import Logger, Pace, open_loggers, written
from flux1.training.muon import Muon
from flux1.training.objective import Network, Objective
from flux1.training.progress import RunProgress, memory_taken


@dataclass(frozen=True)
class LoopSettings:
    """Settings of a training loop: its length, rates and intervals. Rates warm up, hold, then fall
    linearly to zero.

    `learning_rate` is AdamW's, `matrix_learning_rate` Muon's. `precision` is that of the matrix
    products; weights and averages are always float32, moments too but for `adamw8bit`. `patience`:
    how many steps in a row may have a loss or a gradient that is not finite (they change nothing)
    before the run stops. `keep_every`: steps between checkpoints that stay, 0: none do.
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
    keep_every: NonNegativeInt = 0
    preview_every: PositiveInt = 500
    log_every: PositiveInt = 50
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    patience: NonNegativeInt = 0
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"


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
    adamw = AdamW8bit if settings.optimizer == "adamw8bit" else torch.optim.AdamW
    made: list[torch.optim.Optimizer] = [
        adamw(
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


@dataclass(frozen=True)
class Ran:
    """The outcome of a run: the averaged weights, the steps done, and which of them in this run
    had no finite gradient and changed nothing."""

    ema: Ema
    done: int
    left_out: tuple[int, ...]


@dataclass(frozen=True)
class _Step:
    """The results of a step; `waited` seconds of it for its batch."""

    loss: float
    norm: float
    figures: dict[str, float]
    waited: float

    @property
    def finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.norm)


def train(
    objective: Objective[Network],
    settings: LoopSettings,
    folder: Path,
    console: Console,
    stop_at: Callable[[], bool] = lambda: False,
) -> Network:
    """`run`, and a copy of the model with the averaged weights, for evaluation."""
    ran = run(objective, settings, folder, console, stop_at)
    twin = copy.deepcopy(objective.model)
    twin.load_state_dict(ran.ema.shadow, strict=bool(ran.ema.shadow))
    return twin.eval().requires_grad_(False)


def run(
    objective: Objective[Network],
    settings: LoopSettings,
    folder: Path,
    console: Console,
    stop_at: Callable[[], bool] = lambda: False,
    loggers: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
    world: World = ALONE,
    at_checkpoint: Callable[[int], None] = lambda _: None,
    validate: Callable[[], Mapping[str, float]] = dict,
) -> Ran:
    """Train to `settings.steps`, from the last checkpoint in `folder` if there is one.

    `stop_at` is asked after each step; when it answers true, a checkpoint is written and the run
    ends early. `loggers` are those of training/log.py, which are told `about` the run, as the
    checkpoint is. `at_checkpoint` is called after each with the steps done, while the model has
    the averaged weights; so is `validate` where a preview is due, for figures of the log.
    DataError, with the checkpoint as it was, if loss or gradient stop being finite; OutputError,
    likewise, if a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = objective.model
    device = next(model.parameters()).device
    ema = Ema(model, settings.ema_decay)
    optimizers = optimizers_for(objective, settings)
    full_rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    start = load_checkpoint(folder, model, ema, optimizers)
    if settings.compile:
        model.compile(dynamic=False)  # a graph for each size of picture

    left_out: list[int] = []
    done, pace = start, Pace(settings.batch_size)
    with ExitStack() as open_until_the_end:
        opened = _opened(open_until_the_end, loggers, folder, start, about or {}, world)
        place = console if world.first else Console(quiet=True)
        bar = RunProgress(place, settings.steps, start, objective.unit)
        progress = open_until_the_end.enter_context(bar)
        for step in range(start, settings.steps):
            _set_rates(optimizers, full_rates, rate_at(step, settings))
            made = _step(objective, optimizers, settings, step, world)
            done = step + 1
            if made.finite:
                ema.update(model)
            else:
                left_out.append(step)
                _check_patience(left_out, settings.patience, made)

            pace.add(made.waited)
            progress.step(done, made.loss, pace.rate)
            last = done == settings.steps
            if done % settings.log_every == 0 or last:
                row = _row(made, pace, objective.unit, _rate(optimizers))
                for logger in opened:
                    logger.figures(done, row)
                progress.row(done, made.loss, pace.rate)
                pace.restart()
            stopping = world.any(stop_at(), device)
            keeps = settings.keep_every and done % settings.keep_every == 0
            if done % settings.checkpoint_every == 0 or keeps or last or stopping:
                save_checkpoint(folder, done, model, ema, optimizers, world, about)
                if keeps and world.first:
                    keep_numbered(folder, done)
                with shown(model, ema, settings.compile):
                    at_checkpoint(done)
            if done % settings.preview_every == 0 or last:
                with shown(model, ema, settings.compile):
                    preview, checked = objective.preview(model), validate()
                _show_checks(place, opened, done, checked)
                if preview is not None and world.first:
                    _show_preview(folder, opened, done, preview)
            if stopping:
                break
    return Ran(ema, done, tuple(left_out))


def _show_checks(
    console: Console, loggers: Sequence[Logger], done: int, checked: Mapping[str, float]
) -> None:
    if checked:
        words = ", ".join(
            f"{name.replace('_', ' ')} {value:.4g}" for name, value in checked.items()
        )
        console.print(f"step {done}: {words}", markup=False, highlight=False)
        for logger in loggers:
            logger.figures(done, checked)


def _show_preview(folder: Path, loggers: Sequence[Logger], done: int, preview: Image.Image) -> None:
    path = folder / f"preview-{done:06d}.png"
    with written(path):
        preview.save(path)
    for logger in loggers:
        logger.picture(done, preview)


def _opened(
    stack: ExitStack,
    names: Sequence[str],
    folder: Path,
    start: int,
    about: Mapping[str, Any],
    world: World,
) -> list[Logger]:
    if not world.first:
        return []
    loggers = open_loggers(names, folder, start, about)
    for logger in loggers:
        stack.callback(logger.close)
    return loggers


def _row(made: _Step, pace: Pace, unit: str, rate: float) -> dict[str, float]:
    """A row of the log: `data_..._per_s` is what the data alone would give."""
    memory = memory_taken()
    return {
        f"{unit}_per_s": pace.rate,
        f"data_{unit}_per_s": pace.data_rate,
        **({} if memory is None else {"memory_gb": memory / 1e9}),
        "loss": made.loss,
        "learning_rate": rate,
        "grad_norm": made.norm,
        **made.figures,
    }


def _check_patience(left_out: list[int], patience: int, made: _Step) -> None:
    """DataError if the last `patience` steps and this one were all without a finite gradient."""
    recent = left_out[-patience - 1 :]
    if len(recent) > patience and recent[-1] - recent[0] == patience:
        raise DataError(
            f"loss {made.loss} and gradient norm {made.norm} at step {left_out[-1]}; the last "
            "checkpoint is as it was: lower the learning rate and run again to go on from it, or "
            "from one that was kept before"
        )


def _rate(optimizers: list[torch.optim.Optimizer]) -> float:
    """The learning rate of the step that was just made (AdamW's)."""
    return float(optimizers[0].param_groups[0]["lr"])


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
    world: World,
) -> _Step:
    """One update of the weights; none if loss or gradient are not finite."""
    parameters = list(objective.model.parameters())
    generator = torch.Generator().manual_seed(step_seed(settings.seed, step))
    narrow = settings.precision == "bfloat16"
    with torch.autocast(parameters[0].device.type, torch.bfloat16, enabled=narrow):
        began = time.perf_counter()
        batch = objective.batch(step)
        waited = time.perf_counter() - began
        loss, figures = objective.loss(batch, generator)
    loss.backward()
    world.average_gradients(parameters)
    length = nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
    norm = (length.full_tensor() if isinstance(length, DTensor) else length).item()
    made = _Step(world.mean(loss.detach()).item(), norm, figures, waited)
    for optimizer in optimizers:
        if made.finite:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return made


@contextmanager
def shown(model: nn.Module, ema: Ema, compiled: bool = False) -> Iterator[None]:
    """While this lasts, the model is as it would be used: averaged weights, evaluation mode, no
    gradients. A compiled one runs uncompiled: other shapes would have it compiled again."""
    training = model.training
    stance = torch.compiler.set_stance("force_eager") if compiled else ExitStack()
    with ema.worn(model), torch.no_grad(), stance:
        model.eval()
        try:
            yield
        finally:
            model.train(training)
