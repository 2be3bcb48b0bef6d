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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from PIL.Image import Image
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from flux1 import __version__
from flux1.errors import (
    BlockedError,
    CancelledError,
    EngineError,
    Flux1Error,
    OverloadedError,
    StoreError,
)
from flux1.events import Failed, Finished, OrderEvent, Preview, Queued, Started
from flux1.request import ImageRequest, Order
from flux1.safety.provenance import Recipe, encode_picture
from flux1.safety.verdict import Verdict
from flux1.server.auth import Caller
from flux1.server.limits import Meter
from flux1.server.metrics import Metrics
from flux1.server.parts import Parts
from flux1.server.ports import Model
from flux1.server.problems import Problem
from flux1.store.jobs import FailedStatus, NewJob, NewPicture, StoredJob

log = structlog.get_logger("flux1.server")
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

    def __init__(self, ask: Ask, job: StoredJob, weight: float, caller: str) -> None:
        self.ask, self.job, self.weight, self.caller = ask, job, weight, caller
        self.kept: dict[int, Kept] = {}
        self.verdicts: dict[str, Any] = dict(job.safety)
        self.begun = time.perf_counter()
        self.started: float | None = None
        self.ending = False  # somebody is writing how it ends
        self.latest: Preview | None = None
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._told: list[Told] = []
        self._watchers: set[asyncio.Queue[Told]] = set()

    def tell(self, what: Told) -> None:
        if isinstance(what, Preview):
            self.latest = what  # only the last one is kept for late comers
        else:
            self._told.append(what)
        for watcher in self._watchers:
            watcher.put_nowait(what)

    async def watch(self) -> AsyncIterator[Told]:
        """Everything told so far (but old previews), then what comes, until Ended."""
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
        tell_elsewhere: Callable[[StoredJob], Awaitable[None]],
    ) -> None:
        """`tell_elsewhere` is given each ended job that has a webhook."""
        self.parts, self.metrics, self.meter = parts, metrics, Meter()
        self._tell_elsewhere = tell_elsewhere
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
        verdict = await run_in_threadpool(self._check_words, ask)
        new = self._new_job(ask, caller, arrival, verdict)
        key_id = None if caller.key is None else caller.key.id
        usage = self.parts.store.usage
        today = await run_in_threadpool(usage.today, caller.account.id, key_id)
        images, megapixels = ask.request.num_images, ask.megapixels
        self.meter.open(caller.id, caller.limits, images, megapixels, today)
        try:
            job, fresh = await run_in_threadpool(self.parts.store.jobs.accept, new)
        except BaseException:
            self.meter.close(caller.id, images, megapixels)
            raise
        if not fresh:
            self.meter.close(caller.id, images, megapixels)
            return await self._known(job, arrival)
        opened = OpenJob(ask, job, caller.account.weight, caller.id)
        self._open[job.id] = opened
        if verdict.blocked:
            error = BlockedError(
                "the prompt is against this server's policy;", verdict.categories, "prompt", job.id
            )
            await self._end(opened, error)
            raise error
        await self._submit(opened, arrival.deadline)
        return opened

    def _check_words(self, ask: Ask) -> Verdict:
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
        opened = self._open.get(job.id)
        if opened is not None:
            return opened
        # it may have ended since its row was read
        return await run_in_threadpool(self.parts.store.jobs.get, job.id) or job

    async def _submit(self, opened: OpenJob, deadline: float | None) -> None:
        order = Order(
            opened.job.id, opened.ask.request, opened.job.account_id, opened.weight,
            opened.ask.priority, deadline, opened.ask.previews,
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
        caller = job.key_id or job.account_id
        opened = OpenJob(ask, job, 1.0 if account is None else account.weight, caller)
        self._open[job.id] = opened
        with contextlib.suppress(Flux1Error):
            await self._submit(opened, None)

    # through

    def _hear(self, opened: OpenJob, event: OrderEvent) -> None:
        if opened.ended.done():
            return
        match event:
            case Started():
                opened.started = time.perf_counter()
                opened.tell(event)
                self._spawn(self._mark_running(opened))
            case Queued() | Preview():
                opened.tell(event)
            case Finished():
                self._spawn(self._keep(opened, event))
            case Failed(error=error):
                self._spawn(self._end(opened, error))

    async def _mark_running(self, opened: OpenJob) -> None:
        await run_in_threadpool(self.parts.store.jobs.mark_running, opened.job.id)

    async def _keep(self, opened: OpenJob, event: Finished) -> None:
        try:
            kept = await run_in_threadpool(self._file, opened, event)
        except Flux1Error as error:
            await self._end(opened, error)
            return
        except Exception as failure:
            log.exception("a picture could not be kept", job=opened.job.id)
            await self._end(opened, StoreError(f"the picture could not be kept: {failure}"))
            return
        if opened.ended.done():
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
        data = self._signed(ask, picture, event.seed)
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

    def _signed(self, ask: Ask, picture: Image, seed: int) -> bytes:
        fields = {k: v for k, v in asdict(ask.request).items() if k != "num_images"}
        model = ask.model
        recipe = Recipe(**{**fields, "seed": seed}, model_hash=model.hash, device=model.device,
                        dtype=model.dtype, version=__version__)  # fmt: skip
        output = ask.output
        data = encode_picture(picture, recipe, output.format.upper(), output.quality)
        return self.parts.credentials.sign(data, output.media_type, recipe)

    # out

    async def _end(self, opened: OpenJob, error: Flux1Error | None) -> None:
        """Write how it ended, once, and tell everybody."""
        if opened.ending:
            return
        opened.ending = True
        jobs, job_id = self.parts.store.jobs, opened.job.id
        parked = (
            self._closing and opened.job.asynchronous and isinstance(error, CancelledError)
        )  # its row stays open: the next start takes it up
        if error is not None:
            self.parts.engine.cancel(job_id)  # the order's other pictures
        if error is None:
            kept = [opened.kept[i].picture for i in sorted(opened.kept)]
            await run_in_threadpool(jobs.finish, job_id, kept, opened.timings(), opened.verdicts)
        elif not parked:
            status = _status_of(error)
            again = isinstance(error, (OverloadedError, EngineError, StoreError, CancelledError))
            await run_in_threadpool(
                lambda: jobs.fail(
                    job_id, status, error.code, str(error), opened.verdicts, may_repeat=again
                )
            )
            await run_in_threadpool(self._drop_pictures, opened)
        job = await run_in_threadpool(jobs.get, job_id)
        assert job is not None  # its row was written before its work began
        self.meter.close(opened.caller, opened.ask.request.num_images, opened.ask.megapixels)
        self.metrics.ended(job.model, job.status, opened.timings())
        log.info(
            "request ended", request_id=job.request_id, job=job_id, status=job.status,
            error=job.error_code, model=job.model, images=len(job.pictures), **opened.timings(),
        )  # fmt: skip
        ended = Ended(job, error)
        del self._open[job_id]
        opened.ended.set_result(ended)
        opened.tell(ended)
        if job.webhook_url is not None and not parked:
            await self._tell_elsewhere(job)

    def _drop_pictures(self, opened: OpenJob) -> None:
        """The files of a request that failed in part: no row names them."""
        for kept in opened.kept.values():
            self.parts.store.pictures.delete(kept.picture.id, kept.picture.media_type)

    def cancel(self, job_id: str) -> bool:
        """Stop the work within one step. False if it is not open."""
        return job_id in self._open and self.parts.engine.cancel(job_id)

    async def close(self, patience_s: float) -> None:
        """Finish what can be finished in time; what cannot is cancelled, or parked if it may wait
        for the next start."""
        self._closing = True
        await run_in_threadpool(self.parts.engine.close, patience_s)
        for opened in self.open_jobs():
            error = CancelledError("the server stopped before the picture was done")
            await self._end(opened, error)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_s)

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
        categories = job.safety.get("prompt", {}).get("blocked", [])
        return BlockedError(message, tuple(categories), "prompt")
    if job.status == "cancelled":
        return CancelledError(message)
    failure = EngineError(message)
    failure.code = job.error_code or failure.code
    return failure
