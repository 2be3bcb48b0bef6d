"""Four threads: encode, denoise, decode, tell. Each does its part of a picture and hands it on.

The denoise thread alone runs the transformer. What goes wrong with one picture is tried once more,
on its own, and then fails that picture; no error ends a thread. On an accelerator the three stages
overlap; on a CPU whose cores one network already fills they take turns, since two would only fight.

Networks that come and go have one thread for the three stages. There the pictures that have arrived
are a flight: all are encoded, then all are denoised, then all are decoded, so that each network
comes once for all of them. Who arrives meanwhile takes the next flight.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

import torch
from PIL.Image import Image
from torch import Tensor

from flux1.engine.budgets import Budgets
from flux1.engine.desk import Desk, Drawing
from flux1.errors import EngineError, Flux1Error
from flux1.events import Failed, Finished, Preview
from flux1.pipeline.advance import evaluate
from flux1.pipeline.job import Job
from flux1.pipeline.pipeline import FluxPipeline

T = TypeVar("T")
_log = logging.getLogger("flux1.engine")


@dataclass(frozen=True)
class _Show:
    """Tokens to decode: a picture's last, or those of its preview `index` after `step`."""

    drawing: Drawing
    tokens: Tensor
    index: int | None = None
    step: int = 0


class _Turns(AbstractContextManager[None]):
    """A lock that goes to whoever asked first: a plain one can stay with a thread that loops."""

    def __init__(self) -> None:
        self._next, self._held = Lock(), Lock()

    def __enter__(self) -> None:
        with self._next:
            self._held.acquire()

    def __exit__(self, *_failure: object) -> None:
        self._held.release()


class Worker:
    """Draws until the desk closes; `join` waits for the end of that."""

    def __init__(
        self,
        desk: Desk,
        pipelines: Mapping[str, FluxPipeline],
        budgets: Budgets,
        tokens_per_call: int,
    ) -> None:
        self._desk, self._pipelines, self._budgets = desk, pipelines, budgets
        self._tokens_per_call = tokens_per_call
        self._to_decode: SimpleQueue[_Show | None] = SimpleQueue()
        on_cpu = any(p.device.type == "cpu" for p in pipelines.values())
        fills_cores = on_cpu and torch.get_num_threads() > 1
        self._turn: AbstractContextManager[None] = _Turns() if fills_cores else nullcontext()
        apart = any(p.networks.comes_and_goes for p in pipelines.values())
        stages = (self._fly,) if apart else (self._encode, self._denoise, self._decode)
        self._threads = [
            Thread(target=stage, name=f"flux1{stage.__name__}", daemon=True) for stage in stages
        ]
        self._teller = Thread(target=self._tell, name="flux1_tell", daemon=True)
        for thread in (*self._threads, self._teller):
            thread.start()

    @property
    def alive(self) -> bool:
        return all(thread.is_alive() for thread in (*self._threads, self._teller))

    def join(self) -> None:
        """After the desk has closed: let each thread end, those that hand on before the others."""
        self._desk.to_encode.put(None)
        for thread in self._threads[:2]:
            thread.join()
        self._to_decode.put(None)
        for thread in self._threads[2:]:
            thread.join()
        self._desk.outbox.put(None)
        self._teller.join()

    def _encode(self) -> None:
        for drawing in iter(self._desk.to_encode.get, None):
            self._start(drawing)

    def _denoise(self) -> None:
        while (drawings := self._desk.next_round()) is not None:
            self._advance(drawings)

    def _decode(self) -> None:
        for show in iter(self._to_decode.get, None):
            self._show(show)

    def _fly(self) -> None:
        """The three stages of flight after flight."""
        ended = False
        while not ended:
            arrived = [self._desk.to_encode.get(), *_emptied(self._desk.to_encode)]
            ended = None in arrived
            flight = [drawing for drawing in arrived if drawing is not None]
            for drawing in self._prepared(flight):
                self._start(drawing)
            while drawings := self._desk.next_round(wait=False):
                self._advance(drawings)
                if self._pipeline(drawings[0]).networks.all_resident:
                    self._show_all()
            self._show_all()

    def _prepared(self, flight: Sequence[Drawing]) -> list[Drawing]:
        """Those that are still wanted, with their networks ready to draw them together."""
        wanted = [drawing for drawing in flight if self._desk.wants(drawing)]
        flights: dict[str, list[Drawing]] = defaultdict(list)
        for drawing in wanted:
            flights[drawing.order.request.model].append(drawing)
        for model, drawings in flights.items():
            requests = [replace(drawing.order.request, num_images=1) for drawing in drawings]
            failed = _tried(partial(self._pipelines[model].networks.prepare, requests))
            if failed is not None:
                for drawing in drawings:
                    self._desk.settle(drawing, Failed(drawing.image, failed))
        return wanted

    def _start(self, drawing: Drawing) -> None:
        """Encode the words, and let the picture take part in rounds."""
        if not self._desk.wants(drawing):
            return
        request = drawing.order.request
        start = partial(self._pipeline(drawing).start, request, request.seed + drawing.image)
        job = self._twice(start)
        if isinstance(job, EngineError):
            self._desk.settle(drawing, Failed(drawing.image, job))
        else:
            drawing.job = job
            self._desk.ready(drawing)

    def _advance(self, drawings: Sequence[Drawing]) -> None:
        """Move each by one evaluation, and hand on what is to be shown."""
        for drawing, error in zip(drawings, self._step(drawings), strict=True):
            if error is not None:
                (error,) = self._step([drawing])  # once more, on its own
            if error is None:
                error = _tried(partial(self._hand_on, drawing))
            if error is not None:
                self._desk.settle(drawing, Failed(drawing.image, error))

    def _step(self, drawings: Sequence[Drawing]) -> list[EngineError | None]:
        """Move each by one evaluation, in one call. What went wrong with each, which is then
        where it was before."""
        jobs = [drawing.job for drawing in drawings if drawing.job is not None]
        with self._turn:
            answers = _tried(partial(self._evaluate, drawings, jobs))
        if isinstance(answers, EngineError):
            return [answers] * len(drawings)
        return [
            _tried(partial(job.receive, velocities))
            for job, velocities in zip(jobs, answers, strict=True)
        ]

    def _evaluate(self, drawings: Sequence[Drawing], jobs: Sequence[Job]) -> list[list[Tensor]]:
        """Each job's velocities, in as few model calls as tokens and memory allow."""
        first, network = drawings[0].turn, self._pipeline(drawings[0]).transformer
        rows = sum(drawing.turn.rows for drawing in drawings)
        with self._budgets.call(first.model, rows, first.row_tokens, self._tokens_per_call) as most:
            began = time.monotonic()
            answers = evaluate(jobs, network, most)
            took = time.monotonic() - began
        self._desk.measured(drawings, took)
        return answers

    def _hand_on(self, drawing: Drawing) -> None:
        """To the decoder, if the picture is done or a preview is due."""
        order, job = drawing.order, drawing.job
        assert job is not None
        self._desk.evaluated(drawing)
        if job.done:
            drawing.job = None
            self._to_decode.put(_Show(drawing, job.x))
            return
        step, rest = divmod(job.evaluations, order.request.evaluations_per_step)
        due = preview_steps(order.request.steps, order.previews)
        if rest == 0 and step in due and job.estimate is not None:
            self._to_decode.put(_Show(drawing, job.estimate, due.index(step), step))

    def _show_all(self) -> None:
        for show in _emptied(self._to_decode):
            if show is not None:
                self._show(show)

    def _show(self, show: _Show) -> None:
        """Decode, and tell of it."""
        drawing, request = show.drawing, show.drawing.order.request
        if not self._desk.wants(drawing):
            return
        picture = self._twice(partial(self._picture, show))
        image = drawing.image
        if isinstance(picture, EngineError):
            self._desk.settle(drawing, Failed(image, picture))
        elif show.index is None:
            self._desk.settle(drawing, Finished(image, request.seed + image, picture))
        else:
            preview = Preview(image, show.index, show.step, request.steps, picture)
            self._desk.show(drawing, preview)

    def _picture(self, show: _Show) -> Image:
        request = show.drawing.order.request
        pipeline = self._pipeline(show.drawing)
        with self._budgets.decode(request):
            make = pipeline.finish if show.index is None else pipeline.decode
            return make(show.tokens, request)

    def _tell(self) -> None:
        for listener, event in iter(self._desk.outbox.get, None):
            try:
                listener(event)
            except Exception:
                _log.exception("a listener failed at %s", type(event).__name__)

    def _twice(self, action: Callable[[], T]) -> T | EngineError:
        with self._turn:
            first = _tried(action)
            return _tried(action) if isinstance(first, EngineError) else first

    def _pipeline(self, drawing: Drawing) -> FluxPipeline:
        return self._pipelines[drawing.order.request.model]


def preview_steps(steps: int, previews: int) -> list[int]:
    """After which steps to show a preview: evenly spread, never after the last."""
    count = min(previews, steps - 1)
    return [(k + 1) * steps // (count + 1) for k in range(count)]


def _emptied(queue: "SimpleQueue[T]") -> list[T]:
    """Everything in a queue now, which only this thread takes from."""
    return [queue.get() for _ in range(queue.qsize())]


def _tried(action: Callable[[], T]) -> T | EngineError:
    """The action's result, or why there is none. The error keeps no traceback, and so no
    tensors."""
    try:
        return action()
    except Exception as failure:
        _log.warning("drawing failed", exc_info=True)
        if isinstance(failure, Flux1Error):
            return EngineError(str(failure))
        return EngineError(f"drawing failed: {type(failure).__name__}; the log says more")
