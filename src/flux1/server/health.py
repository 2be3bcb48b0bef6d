"""Is new work sensible now? Strangers ask, so what is costly to know is known for a while."""

import asyncio
import time

from anyio import to_thread

from flux1.server.parts import Parts

KNOWN_FOR_S = 2.0
PATIENCE_S = 4.0


class Health:
    """One for each server, on its event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = asyncio.Lock()
        self._troubles: list[str] = []
        self._known_at = -KNOWN_FOR_S

    async def reasons(self) -> list[str]:
        """Why no new work should be sent here; nothing of addresses and paths."""
        status, settings = self._parts.engine.status(), self._parts.settings
        reasons = list(await self._stored())
        if not status.alive:
            reasons.append("the engine has stopped")
        if status.waiting >= settings.max_waiting:
            reasons.append(f"{status.waiting} pictures wait, {settings.max_waiting} may")
        if status.seconds > settings.max_wait_seconds:
            reasons.append(f"new work would wait {status.seconds:.0f} s")
        return reasons

    async def _stored(self) -> list[str]:
        async with self._lock:
            if time.monotonic() - self._known_at >= KNOWN_FOR_S:
                self._troubles = await self._ask()
                self._known_at = time.monotonic()
            return self._troubles

    async def _ask(self) -> list[str]:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await to_thread.run_sync(self._parts.store.troubles, abandon_on_cancel=True)
        except TimeoutError:
            return ["the database or the pictures' place does not answer"]
