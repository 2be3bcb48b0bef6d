"""Draw and read every case of every painter, on one process or on several."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from multiprocessing import get_context

import torch
from PIL import Image
from rich.progress import Progress

from adherence.cases import Case
from adherence.judge import Judge
from adherence.painters import Painter
from adherence.reading import Reading, read

AT_ONCE = 8  # pictures that share a model call


@dataclass(frozen=True)
class Drawn:
    """A case's picture, and what was read off it."""

    case: Case
    picture: Image.Image
    reading: Reading


@contextmanager
def workers(processes: int) -> Iterator[Callable[..., Iterator]]:
    """A `map`. Several processes share the cores evenly; what is drawn does not depend on how many
    there are, beyond rounding."""
    if processes == 1:
        yield map
        return
    threads = max(1, torch.get_num_threads() // processes)
    context = get_context("spawn")  # a fork would inherit torch's threads half-way
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (threads,)) as pool:
        yield pool.map


@lru_cache(maxsize=1)
def _judge() -> Judge:
    return Judge.open()


def draw_and_read(painter: Painter, cases: Sequence[Case]) -> list[Drawn]:
    """No picture is drawn twice or left out."""
    pictures = painter.draw(cases)
    return [
        Drawn(case, picture, read(picture, case, _judge()))
        for case, picture in zip(cases, pictures, strict=True)
    ]


def evaluate(
    painters: Sequence[Painter], cases: Sequence[Case], each: Callable[..., Iterator]
) -> dict[str, list[Drawn]]:
    """Every painter's pictures of the same cases, in their order, under the painter's label.
    `each` is one of `workers`."""
    chunks = [cases[start : start + AT_ONCE] for start in range(0, len(cases), AT_ONCE)]
    found: dict[str, list[Drawn]] = {}
    with Progress() as progress:
        for painter in painters:
            task = progress.add_task(painter.label, total=len(cases))
            found[painter.label] = []
            for drawn in each(draw_and_read, repeat(painter), chunks):
                found[painter.label] += drawn
                progress.advance(task, len(drawn))
    return found
