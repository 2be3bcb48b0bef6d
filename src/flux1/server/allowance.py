"""What a caller's requests use of two limits: those of its key, and those of its account."""

from starlette.concurrency import run_in_threadpool

from flux1.server.ask import Ask
from flux1.server.auth import Caller
from flux1.server.limits import Limits, Meter
from flux1.server.parts import Parts
from flux1.server.problems import Problem


class Allowance:
    """Counts for the key and for its account: keys can be made at will. One for each server, on its
    event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._meter = parts, Meter()

    def hit(self, caller: Caller) -> dict[str, str]:
        """Count a request as come; the rate-limit headers (Problem 429)."""
        headers = self._meter.hit(caller.account.id, Limits.of(self._parts.settings, None))
        return headers if caller.key is None else self._meter.hit(caller.key.id, caller.limits)

    async def open(self, ask: Ask, caller: Caller) -> None:
        """Count a request as open, and its pictures as today's (Problem 429)."""
        today, run = self._parts.store.usage.today, run_in_threadpool
        images = ask.request.num_images
        account, key = caller.account.id, caller.key
        counts = [(account, Limits.of(self._parts.settings, None), await run(today, account, None))]
        if key is not None:
            counts.append((key.id, caller.limits, await run(today, account, key.id)))
        done: list[str] = []
        try:
            for name, limits, total in counts:
                self._meter.open(name, limits, images, ask.megapixels, total)
                done.append(name)
        except Problem:
            self.close(ask, tuple(done))
            raise

    def resume(self, ask: Ask, counted_as: tuple[str, ...]) -> None:
        """Count a request as open that an earlier process accepted."""
        for name in counted_as:
            self._meter.resume(name, ask.request.num_images, ask.megapixels)

    def close(self, ask: Ask, counted_as: tuple[str, ...]) -> None:
        """The request has ended."""
        for name in counted_as:
            self._meter.close(name, ask.request.num_images, ask.megapixels)
