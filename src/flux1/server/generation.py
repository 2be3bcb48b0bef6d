"""A request from row to pictures: accepted, drawn, looked at, signed, kept, answered.

    accept -> row in the database -> engine -> each picture: policy, file, credentials, store -> row

Every wire format ends here as an `Ask`, and everything that happens to it is told to whoever
watches its `OpenRequest`. All of this runs on the event loop; what blocks runs in threads.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakValueDictionary

import structlog
from starlette.concurrency import run_in_threadpool

from flux1.errors import (
    BlockedError,
    CancelledError,
    EngineError,
    Flux1Error,
    StoppingError,
    StoreError,
)
from flux1.events import Failed, Finished, OrderEvent, Preview, Queued, Started
from flux1.request import Order
from flux1.server.arrival import Arrival
from flux1.server.ask import Ask, ask_of, new_request
from flux1.server.auth import Caller
from flux1.server.limits import Limits, Rates
from flux1.server.metrics import Metrics
from flux1.server.open_request import OpenRequest
from flux1.server.outcomes import Outcomes
from flux1.server.parts import Parts
from flux1.server.picture_files import PictureFiles
from flux1.server.problems import Problem
from flux1.store.requests import StoredRequest

log = structlog.get_logger("flux1.server")


class Generation:
    """The desk between wire formats and the engine. One for each server, on its event loop."""

    def __init__(
        self,
        parts: Parts,
        metrics: Metrics,
        wake_courier: Callable[[], None],
    ) -> None:
        """`wake_courier` is called when a webhook may wait."""
        self.parts, self.metrics = parts, metrics
        self._wake_courier = wake_courier
        self._rates, self._files = Rates(), PictureFiles(parts)
        self._outcomes = Outcomes(parts, self._files, lambda: self._closing)
        self._open: dict[str, OpenRequest] = {}
        self._keys: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._closed: asyncio.Task[None] | None = None

    # in

    async def accept(
        self, ask: Ask, caller: Caller, arrival: Arrival
    ) -> OpenRequest | StoredRequest:
        """Write the row, then start the work; a StoredRequest if it was done under this idempotency
        key before. Raises Problem or Flux1Error; a refusal for policy leaves a row."""
        if self._closing:
            raise StoppingError()
        if arrival.idempotency_key is None:
            return await self._accept(ask, caller, arrival)
        # two that come at once: the second finds the first one's row, and its work
        asked = (caller.account.id, arrival.idempotency_key)
        lock = self._keys.setdefault(asked, asyncio.Lock())
        async with lock:
            known = await run_in_threadpool(self.parts.store.requests.under_key, *asked)
            if known is not None:
                return await self._known(known, arrival)
            return await self._accept(ask, caller, arrival)

    async def _accept(
        self, ask: Ask, caller: Caller, arrival: Arrival
    ) -> OpenRequest | StoredRequest:
        verdict = await self._files.look_over(ask)
        notes = () if verdict.blocked else await run_in_threadpool(ask.model.notes, ask.request)
        new = new_request(ask, caller, arrival, verdict, notes)
        quotas = caller.quotas(self.parts.settings)
        stored, fresh = await run_in_threadpool(self.parts.store.requests.accept, new, quotas)
        if not fresh:
            return await self._known(stored, arrival)
        opened = OpenRequest(ask, stored, caller.account.weight, self.parts.tracing.request(stored))
        self._open[stored.id] = opened
        if verdict.blocked:
            error = BlockedError(
                "the prompt is against this server's policy;",
                verdict.categories,
                "prompt",
                stored.id,
            )
            await self._end(opened, error)
            raise error
        await self._submit(opened, arrival.deadline)
        return opened

    def hit(self, caller: Caller) -> dict[str, str]:
        """Count a request of a key and of its account; the rate-limit headers (Problem 429)."""
        most = Limits.of(self.parts.settings, None).requests_per_minute
        headers = self._rates.hit(caller.account.id, most)
        if caller.key is None:
            return headers
        return self._rates.hit(caller.key.id, caller.limits.requests_per_minute)

    async def _known(self, stored: StoredRequest, arrival: Arrival) -> OpenRequest | StoredRequest:
        """Return what an idempotency key stands for: the same request, open or ended."""
        if stored.body_hash != arrival.body_hash:
            raise Problem(
                400,
                f"Idempotency-Key: {arrival.idempotency_key!r} was used for another request "
                f"({stored.id}); take a new key for a new request",
                "idempotency_key_reused",
                param="Idempotency-Key",
            )
        if stored.id in self._open:
            return self._open[stored.id]
        # it has ended here, so its row is written: perhaps since it was read
        latest = await run_in_threadpool(self.parts.store.requests.get, stored.id)
        if latest is not None and latest.finished is None:
            raise Problem(
                409, f"{stored.id} is open and not drawn here", "still_open", retry_after=2
            )
        return latest or stored

    async def _submit(
        self, opened: OpenRequest, deadline: float | None, promised: bool = False
    ) -> None:
        order = Order(
            opened.stored.id, opened.ask.request, opened.stored.account_id, opened.weight,
            opened.ask.priority, deadline, opened.ask.previews, promised,
        )  # fmt: skip
        loop = asyncio.get_running_loop()

        def listener(event: OrderEvent) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: so has everything else
                loop.call_soon_threadsafe(self._hear, opened, event)

        try:
            self.parts.engine.submit(order, listener)
            opened.submitted = True
        except Flux1Error as error:
            await self._end(opened, error)
            raise
        except Exception as failure:  # a device that has failed, for one: the request must not hang
            log.exception("the engine did not take a request", job=opened.stored.id)
            broken = EngineError(f"the engine failed: {type(failure).__name__}; the log says more")
            await self._end(opened, broken)
            raise broken from failure

    def find(self, job_id: str) -> OpenRequest | None:
        """The open work of a request, if it is open here."""
        return self._open.get(job_id)

    def progress(self, job_id: str) -> float | None:
        """The share of the model evaluations that are made for an open request, 0 to 1; it never
        falls. None if it is not open here. Read it before the request's row: what has ended by
        then has its row written."""
        opened = self._open.get(job_id)
        if opened is None:
            return None
        share = self.parts.engine.progress(job_id)
        # what the engine does not have any more is drawn, and its files are being made
        return float(opened.submitted) if share is None else share

    def open_requests(self) -> Iterator[OpenRequest]:
        yield from tuple(self._open.values())

    async def resume(self) -> int:
        """Take up what an earlier process had accepted and not ended; returns how many."""
        requests = self.parts.store.requests
        lost = await run_in_threadpool(requests.abandon_synchronous)
        if lost:
            log.warning("requests were cut off by the last stop", requests=lost)
        unfinished = await run_in_threadpool(requests.unfinished)
        for stored in unfinished:
            await self._take_up(stored)
        return len(unfinished)

    async def _take_up(self, stored: StoredRequest) -> None:
        account = await run_in_threadpool(self.parts.store.accounts.get, stored.account_id)
        try:
            model = self.parts.model(stored.model)
            ask = ask_of(stored, model)
        except (Flux1Error, ValueError) as failure:
            message = f"cannot be drawn after a restart: {failure}"
            await run_in_threadpool(
                self.parts.store.requests.fail, stored.id, "failed", "interrupted", message
            )
            return
        weight = 1.0 if account is None else account.weight
        opened = OpenRequest(ask, stored, weight, self.parts.tracing.request(stored))
        self._open[stored.id] = opened
        with contextlib.suppress(Flux1Error):
            await self._submit(opened, None, promised=True)

    # through

    def _hear(self, opened: OpenRequest, event: OrderEvent) -> None:
        if opened.ended.done():
            return
        opened.trace.heard(event)
        match event:
            case Started():
                opened.started = time.perf_counter()
                opened.tell(event)
                self._spawn(self._mark_running(opened))
            case Queued():
                opened.tell(event)
            case Preview():
                self._spawn(self._show(opened, event))
            case Finished():
                self._spawn(self._keep(opened, event))
            case Failed(error=error):
                self._spawn(self._end(opened, error))

    async def _mark_running(self, opened: OpenRequest) -> None:
        await run_in_threadpool(self.parts.store.requests.mark_running, opened.stored.id)

    async def _show(self, opened: OpenRequest, event: Preview) -> None:
        allowed = await self._files.may_show(event.picture, opened.ask.tolerance)
        if allowed and event.image not in opened.kept:
            opened.tell(event)

    async def _keep(self, opened: OpenRequest, event: Finished) -> None:
        try:
            kept = await self._outcomes.keep(opened, event)
        except Flux1Error as error:
            await self._end(opened, error)
            return
        except Exception as failure:
            log.exception("a picture could not be kept", job=opened.stored.id)
            await self._end(opened, StoreError(f"the picture could not be kept: {failure}"))
            return
        if opened.ending:
            await run_in_threadpool(self._files.drop, [kept.picture])
            return
        opened.kept[event.image] = kept
        opened.tell(kept)
        if len(opened.kept) == opened.ask.request.num_images:
            await self._end(opened, None)

    # out

    async def _end(self, opened: OpenRequest, error: Flux1Error | None) -> None:
        """Write how it ended, once, and tell everybody, whatever goes wrong on the way."""
        if opened.ending:
            return
        opened.ending = True
        if self._closing and isinstance(error, CancelledError) and not opened.unwanted:
            error = StoppingError()
        if error is not None:
            self.parts.engine.cancel(opened.stored.id)  # the order's other pictures
        ended = await self._outcomes.end(opened, error)
        stored, error = ended.stored, ended.error
        del self._open[stored.id]
        opened.end(ended)
        opened.trace.ended(stored, error)
        self._wake_courier()
        self.metrics.ended(stored.model, stored.status, opened.timings())
        log.info(
            "request ended",
            request_id=stored.request_id,
            job=stored.id,
            status=stored.status,
            error=stored.error_code,
            model=stored.model,
            images=len(stored.pictures),
            **opened.timings(),
        )

    def cancel(self, job_id: str) -> bool:
        """Stop the work within one step. False if it is not open."""
        opened = self._open.get(job_id)
        if opened is None:
            return False
        opened.unwanted = True
        return self.parts.engine.cancel(job_id)

    async def close(self, patience_s: float) -> None:
        """Finish what can be finished in time; what cannot is refused, or parked if it may wait
        for the next start. However often it is called, it is done once."""
        self._closing = True
        if self._closed is None:
            self._closed = asyncio.create_task(self._close(patience_s))
        await asyncio.shield(self._closed)

    async def _close(self, patience_s: float) -> None:
        began = time.monotonic()
        await run_in_threadpool(self.parts.engine.close, patience_s)
        if self._tasks:  # what was drawn is filed
            left = max(1.0, patience_s - (time.monotonic() - began))
            await asyncio.wait(self._tasks, timeout=left)
        for opened in self.open_requests():
            await self._end(opened, StoppingError())

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task failed", exc_info=task.exception())
