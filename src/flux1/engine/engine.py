"""Many requests at once on loaded models, by step-level continuous batching."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from flux1.engine.budgets import Budgets
from flux1.engine.desk import Desk, Listener
from flux1.engine.scheduler import Scheduler, Turn
from flux1.engine.worker import Worker
from flux1.errors import RequestError, UnknownModelError, nearest
from flux1.events import EngineStatus, Queued
from flux1.pipeline.memory import Memory, device_memory
from flux1.pipeline.pipeline import FluxPipeline
from flux1.request import Order


@dataclass(frozen=True)
class EngineSettings:
    """`tokens_per_call`: tokens (image and text) that may share one model call; where a larger
    call is no faster per token, a larger budget only makes owners wait for each other.
    `max_running`: pictures in flight, whose prompts are encoded and kept. `max_waiting`: pictures
    that may wait for that. `max_wait_seconds`: predicted wait beyond which an order is refused.
    """

    tokens_per_call: int = 16_384
    max_running: int = 64
    max_waiting: int = 512
    max_wait_seconds: float = 600.0


class Engine:
    """Orders in, events out. Thread-safe.

    A picture drawn among others is that of its seed drawn alone, to at most one of 255 levels.
    Each picture ends with exactly one Finished or Failed. Events come from one thread, in order;
    a slow listener delays other events, but not the drawing. A listener may call the engine,
    except for `close`.
    """

    def __init__(
        self,
        pipelines: Mapping[str, FluxPipeline],
        models: Mapping[str, Any],
        settings: EngineSettings | None = None,
        memory: Callable[[torch.device], Memory | None] = device_memory,
    ) -> None:
        """`pipelines` by variant id; `models` is kept for whoever asks, and not read; `memory` says
        what a device has (None: nobody knows, and nothing is refused for it)."""
        settings = settings or EngineSettings()
        self.models = models
        self._pipelines = dict(pipelines)
        scheduler = Scheduler(settings.tokens_per_call, settings.max_running)
        self._desk = Desk(scheduler, settings.max_waiting, settings.max_wait_seconds)
        self._budgets = Budgets(self._pipelines, memory)
        self._worker = Worker(self._desk, self._pipelines, self._budgets, settings.tokens_per_call)

    def submit(self, order: Order, listener: Listener) -> None:
        """Take an order in; `listener` is told Queued, Started, its Previews, and how each picture
        ended.

        Raises OverloadedError, DeadlineError (it is predicted to be late, or is), RequestError
        (also for a size that the device's memory does not hold), or UnknownModelError for a model
        that is not loaded; the listener is not called then.
        """
        if not 0 < order.weight < math.inf:
            raise RequestError("weight", f"{order.weight} is not a positive number; usual: 1")
        turns = self._turns(order)
        self._budgets.check(order)
        self._desk.take(order, turns, listener)

    def cancel(self, order_id: str) -> bool:
        """Stop an order within one model call; what is open of it comes back as
        Failed(CancelledError). False if there is no such order any more."""
        return self._desk.cancel(order_id)

    def place(self, order_id: str) -> Queued | None:
        """Return where an order stands that has not begun; None if it has, or is not here."""
        return self._desk.place(order_id)

    def progress(self, order_id: str) -> float | None:
        """The share of an order's model evaluations that are made: 0 while it waits, 1 when only
        decoding is left; a picture that has ended counts whole. None if it is not here."""
        return self._desk.progress(order_id)

    def status(self) -> EngineStatus:
        """`failures` counts EngineErrors: neither what was cancelled nor what was late."""
        waiting, running, seconds = self._desk.load()
        tally = self._desk.tally
        return EngineStatus(
            waiting=waiting,
            running=running,
            seconds=seconds,
            last_batch=tally.last_batch,
            last_call_s=tally.last_call_s,
            pictures=tally.pictures,
            failures=tally.failures,
            model_calls=tally.model_calls,
            alive=self._worker.alive,
            memory_free=self._budgets.free(),
        )

    def close(self, patience_s: float) -> None:
        """Take nothing new in, finish what can be finished in `patience_s` seconds, cancel the
        rest, and return when the last event was told."""
        self._desk.close(patience_s)
        self._worker.join()

    def _turns(self, order: Order) -> list[Turn]:
        """The cost of each picture of an order."""
        request = order.request
        if request.model not in self._pipelines:
            known = ", ".join(self._pipelines)
            raise UnknownModelError(
                f"model: {request.model!r} is not loaded{nearest(request.model, self._pipelines)}"
                f"; here: {known}"
            )
        variant = self._pipelines[request.model].variant
        tokens = variant.tokens(request)
        return [
            Turn(
                order=order.id,
                image=image,
                owner=order.owner,
                model=request.model,
                row_tokens=tokens.all,
                evaluations=request.evaluations,
                rows=len(request.conditions),
                weight=order.weight,
                priority=order.priority,
                deadline=order.deadline,
                arrival=time.monotonic(),
            )
            for image in range(request.num_images)
        ]
