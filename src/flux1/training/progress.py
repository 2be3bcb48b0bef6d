"""The progress of a run, for a person: a bar in a terminal, else a line at every row of the log."""

import time
from types import TracebackType

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flux1.pipeline.memory import bytes_text, resident


class RunProgress:
    """Steps, loss, speed, memory, and the time that is left."""

    def __init__(self, console: Console, total: int, start: int, unit: str) -> None:
        self._console, self._total, self._start, self._unit = console, total, start, unit
        self._began = time.perf_counter()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=start, said="")

    def __enter__(self) -> "RunProgress":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def step(self, done: int, loss: float, rate: float) -> None:
        if not self._bar.disable:
            self._bar.update(self._task, completed=done, said=self._said(loss, rate))

    def row(self, done: int, loss: float, rate: float) -> None:
        """A row of the log was written."""
        if self._bar.disable:
            a_step = (time.perf_counter() - self._began) / max(1, done - self._start)
            left = a_step * (self._total - done)
            self._console.print(
                f"step {done}/{self._total}  {self._said(loss, rate)}  {_duration(left)} left",
                highlight=False,
                soft_wrap=True,
            )

    def _said(self, loss: float, rate: float) -> str:
        memory = memory_taken()
        tail = "" if memory is None else f"  {bytes_text(memory)}"
        return f"loss {loss:.4f}  {rate:.1f} {self._unit}/s{tail}"


def memory_taken() -> int | None:
    """Bytes: of the graphics card the most that was taken, else what the process takes now."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return resident()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
