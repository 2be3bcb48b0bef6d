"""A request that is being worked on, and what its watchers are told."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from flux1.errors import Flux1Error
from flux1.events import Preview, Queued, Started
from flux1.server.ask import Ask
from flux1.server.tracing import RequestTrace
from flux1.store.requests import NewPicture, StoredRequest


@dataclass(frozen=True)
class Kept:
    """A picture is drawn, checked, signed and stored. `data` is the file."""

    picture: NewPicture
    data: bytes


@dataclass(frozen=True)
class Ended:
    """Nothing more will happen. `error` is None where all pictures came."""

    stored: StoredRequest
    error: Flux1Error | None


RequestEvent = Queued | Started | Preview | Kept | Ended


class OpenRequest:
    """A request that is being worked on. Any number may watch it: all see all of it."""

    def __init__(
        self,
        ask: Ask,
        stored: StoredRequest,
        weight: float,
        trace: RequestTrace,
    ) -> None:
        self.ask, self.stored, self.weight, self.trace = ask, stored, weight, trace
        self.kept: dict[int, Kept] = {}
        self.verdicts: dict[str, Any] = dict(stored.safety)
        self.begun = time.perf_counter()
        self.started: float | None = None
        self.submitted = False  # the engine has taken it in
        self.ending = False  # somebody is writing how it ends
        self.shown: set[int] = set()  # pictures of which a client has seen a preview, or all
        self.unwanted = False  # somebody cancelled it
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._events: list[RequestEvent] = []
        self._watchers: set[asyncio.Queue[RequestEvent]] = set()

    def tell(self, event: RequestEvent) -> None:
        if not isinstance(event, Preview):  # late comers do without old previews
            self._events.append(event)
        for watcher in self._watchers:
            watcher.put_nowait(event)
        if self._watchers:
            self._show(event)

    def _show(self, event: RequestEvent) -> None:
        if isinstance(event, Preview):
            self.shown.add(event.image)
        elif isinstance(event, Kept):
            self.shown.add(event.picture.index)

    def end(self, ended: Ended) -> None:
        """Tell everybody that nothing more will happen; the first word is the last."""
        if not self.ended.done():
            self.ended.set_result(ended)
            self.tell(ended)

    async def watch(self) -> AsyncIterator[RequestEvent]:
        """Everything told so far (but old previews), then what comes, until Ended."""
        queue: asyncio.Queue[RequestEvent] = asyncio.Queue()
        for event in self._events:
            queue.put_nowait(event)
            self._show(event)
        self._watchers.add(queue)
        try:
            while True:
                event = await queue.get()
                yield event
                if isinstance(event, Ended):
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
