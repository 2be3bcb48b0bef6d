"""The outcome of a request, written: each picture, and the row's end, however long the store is
away."""

import asyncio
from collections.abc import Callable

import structlog
from starlette.concurrency import run_in_threadpool

from flux1.errors import CancelledError, Flux1Error, StoppingError, StoreError
from flux1.events import Finished
from flux1.server.failures import may_repeat, message_of, status_of
from flux1.server.open_request import Ended, Kept, OpenRequest
from flux1.server.parts import Parts
from flux1.server.picture_files import PictureFiles
from flux1.store.requests import StoredRequest

log = structlog.get_logger("flux1.server")
# Seconds between tries to write while the store is away: a day in all.
PAUSES_S = (0.5, 1, 2, 5, 10, *(20,) * 4_320)


class Outcomes:
    """One for each server, on its event loop. Nothing is waited for once `closing` says so."""

    def __init__(self, parts: Parts, files: PictureFiles, closing: Callable[[], bool]) -> None:
        self._parts, self._files, self._closing = parts, files, closing

    async def keep(self, opened: OpenRequest, event: Finished) -> Kept:
        """A drawn picture, stored. Where nobody holds the line for it, it waits for a store that is
        away."""
        for pause_s in PAUSES_S:
            try:
                return await self._files.keep(opened, event)
            except StoreError as error:
                log.warning("a picture could not be stored", job=opened.stored.id, error=str(error))
                if self._closing() or not opened.stored.asynchronous:
                    raise
                await asyncio.sleep(pause_s)
        return await self._files.keep(opened, event)

    async def end(self, opened: OpenRequest, error: Flux1Error | None) -> Ended:
        """The end, once it is in its row: that may take as long as the store is away. Whoever holds
        the line is told at once that this one came to nothing."""
        stored = opened.stored
        for pause_s in PAUSES_S:
            try:
                return Ended(*await run_in_threadpool(self._write_end, opened, error))
            except Exception as failure:
                log.exception("how a request ended could not be written", job=stored.id)
                if self._closing() or not isinstance(failure, StoreError):
                    break
            if not stored.asynchronous:
                error = error or StoreError("the result could not be written")
                opened.end(Ended(stored, error))
            await asyncio.sleep(pause_s)
        # its row stays open: the next start draws it again, or says that it was lost
        return Ended(stored, error or StoreError("the result could not be written"))

    def _write_end(
        self, opened: OpenRequest, error: Flux1Error | None
    ) -> tuple[StoredRequest, Flux1Error | None]:
        """The row as it ended, and what its watchers are told. In a thread."""
        requests, job_id = self._parts.store.requests, opened.stored.id
        kept = [opened.kept[i].picture for i in sorted(opened.kept)]
        if error is None:
            if not requests.finish(job_id, kept, opened.timings(), opened.verdicts):
                error = CancelledError("the request was erased while it was drawn")
        elif not self._parked(opened, error):
            requests.fail(
                job_id, status_of(error), error.code, message_of(error), opened.verdicts,
                may_repeat=may_repeat(error), delivered=len(opened.shown),
            )  # fmt: skip
        if error is not None:
            self._files.drop(kept)
        stored = requests.get(job_id)
        assert stored is not None  # its row was written before its work began
        return stored, error

    def _parked(self, opened: OpenRequest, error: Flux1Error) -> bool:
        """Return whether its row stays open for the next start to take it up."""
        return isinstance(error, StoppingError) and opened.stored.asynchronous
