"""Work beside the answers: old pictures go, and the database stays this server's alone."""

import asyncio
import contextlib
import signal
from datetime import UTC, datetime

import structlog
from starlette.concurrency import run_in_threadpool

from flux1.errors import StoreError
from flux1.server.parts import Parts

log = structlog.get_logger("flux1.server")
SWEEP_S = 600.0
LEASE_S = 5.0


async def keep_lease(parts: Parts) -> None:
    """Stop if another server has taken this one's place while the database was away."""
    while parts.lease is not None:
        await asyncio.sleep(LEASE_S)
        with contextlib.suppress(StoreError):  # away: nobody knows, and nobody can take it
            if not await run_in_threadpool(parts.lease.held):
                log.error("another server works on this database; stopping")
                signal.raise_signal(signal.SIGTERM)
                return


async def sweep(parts: Parts) -> None:
    """Erase pictures whose time is over."""
    store = parts.store
    while True:
        try:
            old = await run_in_threadpool(store.requests.expired_pictures, datetime.now(UTC), 1000)
            for picture in old:
                await run_in_threadpool(store.pictures.delete, picture.id, picture.media_type)
                await run_in_threadpool(store.requests.mark_erased, [picture.id])
            if old:
                log.info("erased expired pictures", pictures=len(old))
        except Exception:
            log.exception("expired pictures could not be erased")
        await asyncio.sleep(SWEEP_S)
