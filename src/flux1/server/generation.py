"""A request from row to pictures: accepted, drawn, looked at, signed, kept, answered.

    accept -> row in the database -> engine -> each picture: policy, file, credentials, store -> row

Every wire format ends here as an `Ask`, and everything that happens to it is told to whoever
watches. All of this runs on the event loop; what blocks runs in threads.
"""

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import PIL.Image
import structlog
from anyio import CapacityLimiter, to_thread
from PIL.Image import Image
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from flux1 import __version__
from flux1.errors import (
    BlockedError,
    CancelledError,
    DeadlineError,
    EngineError,
    Flux1Error,
    OutputError,
    OverloadedError,
    RequestError,
    StoreError,
)
from flux1.events import Failed, Finished, OrderEvent, Preview, Queued, Started
from flux1.request import ImageRequest, Order
from flux1.safety.provenance import Recipe, encode_picture
from flux1.safety.verdict import Verdict
from flux1.server.auth import Caller
from flux1.server.limits import Limits, Meter
from flux1.server.metrics import Metrics
from flux1.server.parts import Parts
from flux1.server.ports import Model
from flux1.server.problems import Problem
from flux1.store.jobs import FailedStatus, NewJob, NewPicture, StoredJob

log = structlog.get_logger("flux1.server")
FILES_AT_ONCE = 4  # threads that look at, encode, sign and store pictures
LONGEST_SIDE = {"webp": 16_383, "jpeg": 65_535}
MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_REQUESTS = TypeAdapter(ImageRequest)


@dataclass(frozen=True)
class Output:
    """The files to make of the pictures. `quality` 0..100 is for jpeg and webp."""

    format: str = "png"
    quality: int | None = None

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.format]


@dataclass(frozen=True)
class Ask:
    """What every wire format becomes. `labels` are kept in the audit as they came."""

    model: Model
    asked_model: str
    request: ImageRequest
    output: Output
    tolerance: int
    previews: int = 0
    priority: int = 0
    webhook_url: str | None = None
    webhook_secret: str | None = None
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def megapixels(self) -> float:
        return self.request.num_images * self.request.width * self.request.height / 1e6


@dataclass(frozen=True)
class Arrival:
    """How a request came: through which wire format, to which address of ours, and what it says
    about itself."""

    api: str
    request_id: str
    asynchronous: bool = False
    idempotency_key: str | None = None
    body_hash: str = ""
    address: str = ""
    deadline: float | None = None


@dataclass(frozen=True)
class Kept:
    """A picture is drawn, checked, signed and stored. `data` is the file."""

    picture: NewPicture
    data: bytes


@dataclass(frozen=True)
class Ended:
    """Nothing more will happen. `error` is None where all pictures came."""

    job: StoredJob
    error: Flux1Error | None


Told = Queued | Started | Preview | Kept | Ended


class OpenJob:
    """A request that is being worked on. Any number may watch it: all see all of it."""

    def __init__(
        self, ask: Ask, job: StoredJob, weight: float, counted_as: tuple[str, ...]
    ) -> None:
        self.ask, self.job, self.weight, self.counted_as = ask, job, weight, counted_as
        self.kept: dict[int, Kept] = {}
        self.verdicts: dict[str, Any] = dict(job.safety)
        self.begun = time.perf_counter()
        self.started: float | None = None
        self.ending = False  # somebody is writing how it ends
        self.streams = False  # a client has each picture as soon as it is kept
        self.unwanted = False  # somebody cancelled it
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._told: list[Told] = []
        self._watchers: set[asyncio.Queue[Told]] = set()

    def tell(self, what: Told) -> None:
        if not isinstance(what, Preview):  # late comers do without old previews
            self._told.append(what)
        for watcher in self._watchers:
            watcher.put_nowait(what)

    async def watch(self) -> AsyncIterator[Told]:
        """Everything told so far (but old previews), then what comes, until Ended."""
        self.streams = True
        queue: asyncio.Queue[Told] = asyncio.Queue()
        for what in self._told:
            queue.put_nowait(what)
        self._watchers.add(queue)
        try:
            while True:
                what = await queue.get()
                yield what
                if isinstance(what, Ended):
                    return
        finally:
            self._watchers.discard(queue)

    def timings(self) -> dict[str, float]:
        now = time.perf_counter()
        started = now if self.started is None else self.started
        return {
            "queue_s": round(started - self.begun, 4),
            "draw_s": round(now - started, 4),
            "total_s": round(now - self.begun, 4),
        }


class Generation:
    """The desk between wire formats and the engine. One for each server, on its event loop."""

    def __init__(
        self,
        parts: Parts,
        metrics: Metrics,
        wake_courier: Callable[[], None],
    ) -> None:
        """`wake_courier` is called when a webhook may wait."""
        self.parts, self.metrics, self.meter = parts, metrics, Meter()
        self._wake_courier = wake_courier
        self._filing = CapacityLimiter(FILES_AT_ONCE)
        self._open: dict[str, OpenJob] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    # in

    async def accept(self, ask: Ask, caller: Caller, arrival: Arrival) -> OpenJob | StoredJob:
        """Write the row, then start the work; a StoredJob if it was done under this idempotency
        key before. Raises Problem or Flux1Error; a refusal for policy leaves a row."""
        if self._closing:
            raise Problem(503, "the server is stopping", "shutting_down", "server_error",
                          retry_after=5)  # fmt: skip
        jobs = self.parts.store.jobs
        if arrival.idempotency_key is not None:
            asked = (caller.account.id, arrival.idempotency_key)
            known = await run_in_threadpool(jobs.under_key, *asked)
            if known is not None:
                return await self._known(known, arrival)
        verdict = await run_in_threadpool(self._look_over, ask)
        new = self._new_job(ask, caller, arrival, verdict)
        await self._count(ask, caller)
        try:
            job, fresh = await run_in_threadpool(jobs.accept, new)
        except BaseException:
            self._uncount(ask, caller.counted_as)
            raise
        if not fresh:
            self._uncount(ask, caller.counted_as)
            return await self._known(job, arrival)
        opened = OpenJob(ask, job, caller.account.weight, caller.counted_as)
        self._open[job.id] = opened
        if verdict.blocked:
            error = BlockedError(
                "the prompt is against this server's policy;", verdict.categories, "prompt", job.id
            )
            await self._end(opened, error)
            raise error
        await self._submit(opened, arrival.deadline)
        return opened

    def hit(self, caller: Caller) -> dict[str, str]:
        """Count a request of a key and of its account; the rate-limit headers (Problem 429)."""
        self.meter.hit(caller.account.id, Limits.of(self.parts.settings, None))
        return self.meter.hit(caller.id, caller.limits)

    async def _count(self, ask: Ask, caller: Caller) -> None:
        """Count it as open, for the key and for its account: keys can be made at will."""
        today, run = self.parts.store.usage.today, run_in_threadpool
        images = ask.request.num_images
        account, key = caller.account.id, caller.key
        counts = [(account, Limits.of(self.parts.settings, None), await run(today, account, None))]
        if key is not None:
            counts.append((key.id, caller.limits, await run(today, account, key.id)))
        done: list[str] = []
        try:
            for name, limits, total in counts:
                self.meter.open(name, limits, images, ask.megapixels, total)
                done.append(name)
        except Problem:
            self._uncount(ask, tuple(done))
            raise

    def _uncount(self, ask: Ask, names: tuple[str, ...]) -> None:
        for name in names:
            self.meter.close(name, ask.request.num_images, ask.megapixels)

    def _look_over(self, ask: Ask) -> Verdict:
        """Before anything is drawn: can the file be made, may the words be drawn?"""
        longest = max(ask.request.width, ask.request.height)
        if longest > LONGEST_SIDE.get(ask.output.format, longest):
            limit = LONGEST_SIDE[ask.output.format]
            raise RequestError(
                "output_format", f"{ask.output.format} holds at most {limit} pixels a side"
            )
        self._encoded(ask, PIL.Image.new("RGB", (16, 16)), ask.request.seed)
        # not the negative prompt: to keep something out, one has to name it
        return self.parts.prompts.check(ask.request.prompt, ask.tolerance)

    def _new_job(self, ask: Ask, caller: Caller, arrival: Arrival, verdict: Verdict) -> NewJob:
        return NewJob(
            id=f"req_{secrets.token_hex(12)}",
            account_id=caller.account.id,
            key_id=None if caller.key is None else caller.key.id,
            api=arrival.api,
            asynchronous=arrival.asynchronous,
            asked_model=ask.asked_model,
            model=ask.model.variant.id,
            model_hash=ask.model.hash,
            prompt=ask.request.prompt,
            parameters=_REQUESTS.dump_python(ask.request, mode="json"),
            output={
                **asdict(ask.output),
                "previews": ask.previews,
                "address": arrival.address,
                "labels": ask.labels,
            },
            request_id=arrival.request_id,
            idempotency_key=arrival.idempotency_key,
            body_hash=arrival.body_hash,
            safety={
                "tolerance": ask.tolerance,
                "prompt": {"blocked": list(verdict.categories), "scores": dict(verdict.scores)},
            },
            webhook_url=ask.webhook_url,
            webhook_secret=ask.webhook_secret,
        )

    async def _known(self, job: StoredJob, arrival: Arrival) -> OpenJob | StoredJob:
        """What an idempotency key stands for: the same request, open or ended."""
        if job.body_hash != arrival.body_hash:
            raise Problem(
                400,
                f"Idempotency-Key: {arrival.idempotency_key!r} was used for another request "
                f"({job.id}); take a new key for a new request",
                "idempotency_key_reused",
                param="Idempotency-Key",
            )
        # it may have begun, or ended, since its row was read
        latest = await run_in_threadpool(self.parts.store.jobs.get, job.id)
        return self._open.get(job.id) or latest or job

    async def _submit(
        self, opened: OpenJob, deadline: float | None, promised: bool = False
    ) -> None:
        order = Order(
            opened.job.id, opened.ask.request, opened.job.account_id, opened.weight,
            opened.ask.priority, deadline, opened.ask.previews, promised,
        )  # fmt: skip
        loop = asyncio.get_running_loop()

        def listener(event: OrderEvent) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: so has everything else
                loop.call_soon_threadsafe(self._hear, opened, event)

        try:
            self.parts.engine.submit(order, listener)
        except Flux1Error as error:
            await self._end(opened, error)
            raise

    def find(self, job_id: str) -> OpenJob | None:
        """The open work of a request, if it is open here."""
        return self._open.get(job_id)

    def open_jobs(self) -> Iterator[OpenJob]:
        yield from tuple(self._open.values())

    async def resume(self) -> int:
        """Take up what an earlier process had accepted and not ended; returns how many."""
        jobs = self.parts.store.jobs
        lost = await run_in_threadpool(jobs.abandon_synchronous)
        if lost:
            log.warning("requests were cut off by the last stop", requests=lost)
        unfinished = await run_in_threadpool(jobs.unfinished)
        for job in unfinished:
            await self._take_up(job)
        return len(unfinished)

    async def _take_up(self, job: StoredJob) -> None:
        account = await run_in_threadpool(self.parts.store.accounts.get, job.account_id)
        try:
            model = self.parts.model(job.model)
            request = _REQUESTS.validate_python(job.parameters)
        except (Flux1Error, ValueError) as failure:
            message = f"cannot be drawn after a restart: {failure}"
            await run_in_threadpool(
                self.parts.store.jobs.fail, job.id, "failed", "interrupted", message
            )
            return
        output = Output(job.output["format"], job.output["quality"])
        ask = Ask(model, job.asked_model, request, output, job.safety.get("tolerance", 0),
                  webhook_url=job.webhook_url)  # fmt: skip
        counted_as = tuple(name for name in (job.account_id, job.key_id) if name is not None)
        for name in counted_as:
            self.meter.resume(name, request.num_images, ask.megapixels)
        opened = OpenJob(ask, job, 1.0 if account is None else account.weight, counted_as)
        self._open[job.id] = opened
        with contextlib.suppress(Flux1Error):
            await self._submit(opened, None, promised=True)

    # through

    def _hear(self, opened: OpenJob, event: OrderEvent) -> None:
        if opened.ended.done():
            return
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

    async def _mark_running(self, opened: OpenJob) -> None:
        await run_in_threadpool(self.parts.store.jobs.mark_running, opened.job.id)

    async def _show(self, opened: OpenJob, event: Preview) -> None:
        """A preview is looked at as a picture is: late ones are almost the picture."""
        check = self.parts.pictures.check
        verdict = await to_thread.run_sync(
            check, event.picture, opened.ask.tolerance, limiter=self._filing
        )
        if not verdict.blocked and event.image not in opened.kept:
            opened.tell(event)

    async def _keep(self, opened: OpenJob, event: Finished) -> None:
        try:
            kept = await to_thread.run_sync(self._file, opened, event, limiter=self._filing)
        except Flux1Error as error:
            await self._end(opened, error)
            return
        except Exception as failure:
            log.exception("a picture could not be kept", job=opened.job.id)
            await self._end(opened, StoreError(f"the picture could not be kept: {failure}"))
            return
        if opened.ending:
            await run_in_threadpool(self._drop, [kept.picture])
            return
        opened.kept[event.image] = kept
        opened.tell(kept)
        if len(opened.kept) == opened.ask.request.num_images:
            await self._end(opened, None)

    def _file(self, opened: OpenJob, event: Finished) -> Kept:
        """Look at a picture, make its file, sign it, store it. In a thread."""
        ask, picture = opened.ask, event.picture
        verdict = self.parts.pictures.check(picture, ask.tolerance)
        opened.verdicts[f"picture {event.image}"] = {
            "blocked": list(verdict.categories),
            "scores": dict(verdict.scores),
        }
        if verdict.blocked:
            raise BlockedError(
                "the picture is against this server's policy and was not kept;",
                verdict.categories,
                "output",
            )
        data = self.parts.credentials.sign(*self._encoded(ask, picture, event.seed))
        picture_id = f"{opened.job.id.replace('req_', 'img_')}_{event.image}"
        self.parts.store.pictures.put(picture_id, data, ask.output.media_type)
        days = self.parts.settings.retention_days
        stored = NewPicture(
            id=picture_id, index=event.image, seed=event.seed, width=picture.width,
            height=picture.height, media_type=ask.output.media_type, size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            expires=datetime.now(UTC) + timedelta(days=days) if days else None,
        )  # fmt: skip
        return Kept(stored, data)

    def _encoded(self, ask: Ask, picture: Image, seed: int) -> tuple[bytes, str, Recipe]:
        """A picture's file with its recipe inside (OutputError if its format cannot hold that)."""
        fields = {k: v for k, v in asdict(ask.request).items() if k != "num_images"}
        model = ask.model
        recipe = Recipe(**{**fields, "seed": seed}, model_hash=model.hash, device=model.device,
                        dtype=model.dtype, version=__version__)  # fmt: skip
        output = ask.output
        data = encode_picture(picture, recipe, output.format.upper(), output.quality)
        return data, output.media_type, recipe

    # out

    async def _end(self, opened: OpenJob, error: Flux1Error | None) -> None:
        """Write how it ended, once, and tell everybody, whatever goes wrong on the way."""
        if opened.ending:
            return
        opened.ending = True
        if error is not None:
            self.parts.engine.cancel(opened.job.id)  # the order's other pictures
        job = opened.job
        try:
            job, error = await run_in_threadpool(self._write_end, opened, error)
        except Exception as failure:
            # its row stays open: the next start draws it again, or says that it was lost
            log.exception("how a request ended could not be written", job=job.id)
            error = StoreError(f"the result could not be written: {failure}")
        del self._open[job.id]
        self._uncount(opened.ask, opened.counted_as)
        ended = Ended(job, error)
        opened.ended.set_result(ended)
        opened.tell(ended)
        self._wake_courier()
        self.metrics.ended(job.model, job.status, opened.timings())
        log.info(
            "request ended", request_id=job.request_id, job=job.id, status=job.status,
            error=job.error_code, model=job.model, images=len(job.pictures), **opened.timings(),
        )  # fmt: skip

    def _write_end(
        self, opened: OpenJob, error: Flux1Error | None
    ) -> tuple[StoredJob, Flux1Error | None]:
        """The row as it ended, and what its watchers are told. In a thread."""
        jobs, job_id = self.parts.store.jobs, opened.job.id
        kept = [opened.kept[i].picture for i in sorted(opened.kept)]
        if error is None:
            if not jobs.finish(job_id, kept, opened.timings(), opened.verdicts):
                error = CancelledError("the request was erased while it was drawn")
        elif not self._parked(opened, error):
            again = (OverloadedError, EngineError, StoreError, CancelledError, DeadlineError)
            jobs.fail(
                job_id, _status_of(error), error.code, str(error), opened.verdicts,
                may_repeat=isinstance(error, again), delivered=kept if opened.streams else (),
            )  # fmt: skip
        if error is not None:
            self._drop(kept)
        job = jobs.get(job_id)
        assert job is not None  # its row was written before its work began
        return job, error

    def _parked(self, opened: OpenJob, error: Flux1Error) -> bool:
        """Whether its row stays open for the next start to take it up."""
        stopping = self._closing and isinstance(error, CancelledError)
        return stopping and opened.job.asynchronous and not opened.unwanted

    def _drop(self, pictures: list[NewPicture]) -> None:
        """Files that no row names."""
        for picture in pictures:
            self.parts.store.pictures.delete(picture.id, picture.media_type)

    def cancel(self, job_id: str) -> bool:
        """Stop the work within one step. False if it is not open."""
        opened = self._open.get(job_id)
        if opened is None:
            return False
        opened.unwanted = True
        return self.parts.engine.cancel(job_id)

    async def close(self, patience_s: float) -> None:
        """Finish what can be finished in time; what cannot is cancelled, or parked if it may wait
        for the next start."""
        self._closing = True
        began = time.monotonic()
        await run_in_threadpool(self.parts.engine.close, patience_s)
        if self._tasks:  # what was drawn is filed
            left = max(1.0, patience_s - (time.monotonic() - began))
            await asyncio.wait(self._tasks, timeout=left)
        for opened in self.open_jobs():
            error = CancelledError("the server stopped before the picture was done")
            await self._end(opened, error)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task failed", exc_info=task.exception())


def _status_of(error: Flux1Error) -> FailedStatus:
    if isinstance(error, BlockedError):
        return "blocked"
    return "cancelled" if isinstance(error, CancelledError) else "failed"


def error_of(job: StoredJob) -> Flux1Error | None:
    """The failure that a row remembers."""
    if job.status == "succeeded":
        return None
    message = job.error_message or f"the request ended as {job.status}"
    if job.status == "blocked":
        looked = [verdict for verdict in job.safety.values() if isinstance(verdict, dict)]
        categories = {name for verdict in looked for name in verdict.get("blocked", [])}
        stage = "prompt" if job.safety.get("prompt", {}).get("blocked") else "output"
        return BlockedError(message, tuple(sorted(categories)), stage)
    if job.status == "cancelled":
        return CancelledError(message)
    if job.error_code == OutputError.code:
        return OutputError(message)
    failure = EngineError(message)
    failure.code = job.error_code or failure.code
    return failure
