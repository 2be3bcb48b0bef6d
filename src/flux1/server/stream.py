"""An open request as server-sent events, in OpenAI's words: for its route and for the playground.

Whoever goes away cancels the work, unless it can ask for the result again (`keep_on`).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from anyio import to_thread
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from flux1.errors import Flux1Error
from flux1.events import Preview
from flux1.server.ask import Ask
from flux1.server.failures import error_of
from flux1.server.open_request import Ended, Kept, OpenRequest
from flux1.server.openai_answers import completed_image, partial_image
from flux1.server.parts import parts_of
from flux1.server.picture_files import read_again
from flux1.server.problems import Problem, problem_of
from flux1.store.requests import StoredRequest

HEARTBEAT_S = 15.0


def streamed(
    request: Request, work: OpenRequest | StoredRequest, ask: Ask, keep_on: bool
) -> StreamingResponse:
    """Server-sent events: `image_generation.partial_image` and `image_generation.completed`, each
    with the `image_index` that it belongs to."""
    return StreamingResponse(
        _events(request, work, ask, keep_on),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def counted(request: Request, say: Callable[..., bytes], *words: Any) -> bytes:
    """An answer that counts a prompt's tokens: nothing else runs meanwhile, so one at a time."""
    return await to_thread.run_sync(say, *words, limiter=request.app.state.telling)


async def _events(
    request: Request, work: OpenRequest | StoredRequest, ask: Ask, keep_on: bool
) -> AsyncIterator[bytes]:
    completed = False
    try:
        if isinstance(work, StoredRequest):
            error = error_of(work)
            for kept in [] if error else await read_again(parts_of(request), work):
                yield await counted(request, _completed, work, kept, ask)
            if error is not None:
                yield _failed(error)
            completed = True
            return
        async for told in _with_heartbeat(work.watch()):
            match told:
                case None:
                    yield b": still drawing\n\n"
                case Preview():
                    yield await run_in_threadpool(_partial, work.stored, told, ask)
                case Kept():
                    yield await counted(request, _completed, work.stored, told, ask)
                case Ended(error=error):
                    completed = True
                    if error is not None:
                        yield _failed(error)
    except (Problem, Flux1Error) as failure:
        completed = True
        yield _failed(failure)
    finally:
        if not completed and not keep_on and isinstance(work, OpenRequest):
            request.app.state.generation.cancel(work.stored.id)


async def _with_heartbeat(told: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield what comes, and None whenever nothing came for a while: proxies cut silent answers."""
    coming = asyncio.ensure_future(anext(told))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=HEARTBEAT_S)
            if not done:
                yield None
                continue
            try:
                yield coming.result()
            except StopAsyncIteration:
                return
            coming = asyncio.ensure_future(anext(told))
    finally:
        coming.cancel()


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def _partial(stored: StoredRequest, preview: Preview, ask: Ask) -> bytes:
    return _event("image_generation.partial_image", partial_image(stored, preview, ask))


def _completed(stored: StoredRequest, kept: Kept, ask: Ask) -> bytes:
    return _event("image_generation.completed", completed_image(stored, kept, ask))


def _failed(failure: Problem | Flux1Error) -> bytes:
    problem = failure if isinstance(failure, Problem) else problem_of(failure)
    return _event("error", problem.body())
