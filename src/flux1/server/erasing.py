"""The end of a request on demand."""

import asyncio

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from flux1.server.generation import Generation
from flux1.server.parts import parts_of
from flux1.store.requests import StoredRequest


async def end_or_erase(request: Request, stored: StoredRequest) -> None:
    """Cancel a request that is open; erase the words and pictures of one that has ended."""
    parts = parts_of(request)
    generation: Generation = request.app.state.generation
    opened = generation.find(stored.id)
    if opened is not None:
        generation.cancel(stored.id)
        ended = await asyncio.shield(opened.ended)
        if ended.error is not None:
            return
        stored = ended.stored  # it was done before it could be stopped
    for picture in stored.pictures:  # bytes first: a crash between the two leaves none behind
        await run_in_threadpool(parts.store.pictures.delete, picture.id, picture.media_type)
    await run_in_threadpool(parts.store.requests.erase, stored.id, stored.account_id)
