"""A request that is being worked on, and what its watchers are told."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from flux1.errors import Flux1Error
from flux1.events import Preview, Queued, Started
from flux1.server.ask import Ask
from flux1.server.tracing import JobTrace
from flux1.store.jobs import NewPicture, StoredJob


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
        self,
        ask: Ask,
        job: StoredJob,
        weight: float,
        trace: JobTrace,
    ) -> None:
        self.ask, self.job, self.weight, self.trace = ask, job, weight, trace
        self.kept: dict[int, Kept] = {}
        self.verdicts: dict[str, Any] = dict(job.safety)
        self.begun = time.perf_counter()
        self.started: float | None = None
        self.submitted = False  # the engine has taken it in
        self.ending = False  # somebody is writing how it ends
        self.shown: set[int] = set()  # pictures of which a client has seen a preview, or all
        self.unwanted = False  # somebody cancelled it
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._told: list[Told] = []
        self._watchers: set[asyncio.Queue[Told]] = set()

    def tell(self, what: Told) -> None:
        if not isinstance(what, Preview):  # late comers do without old previews
            self._told.append(what)
        for watcher in self._watchers:
            watcher.put_nowait(what)
        if self._watchers:
            self._show(what)

    def _show(self, what: Told) -> None:
        if isinstance(what, Preview):
            self.shown.add(what.image)
        elif isinstance(what, Kept):
            self.shown.add(what.picture.index)

    def end(self, ended: Ended) -> None:
        """Tell everybody that nothing more will happen; the first word is the last."""
        if not self.ended.done():
            self.ended.set_result(ended)
            self.tell(ended)

    async def watch(self) -> AsyncIterator[Told]:
        """Everything told so far (but old previews), then what comes, until Ended."""
        queue: asyncio.Queue[Told] = asyncio.Queue()
        for what in self._told:
            queue.put_nowait(what)
            self._show(what)
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
