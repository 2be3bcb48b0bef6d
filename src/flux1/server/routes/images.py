"""`POST /v1/images/generations`: OpenAI's Images API."""

import asyncio
import base64
import hashlib
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from flux1.errors import Flux1Error
from flux1.events import Preview
from flux1.server import openai
from flux1.server.ask import Arrival, Ask
from flux1.server.auth import Caller, Writer
from flux1.server.failures import error_of
from flux1.server.generation import Generation
from flux1.server.links import address, signed_link
from flux1.server.open_request import Ended, Kept, OpenRequest
from flux1.server.openai import ImageGenerationBody, ImagesResponse
from flux1.server.parts import parts_of
from flux1.server.problems import ErrorEnvelope, Problem, problem_of
from flux1.store.requests import StoredRequest

router = APIRouter(tags=["images"])
HEARTBEAT_S = 15.0
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorEnvelope, "description": description}
    for status, description in {
        400: "A field cannot be honoured, or the words or the picture are against the policy.",
        401: "No key, or one that opens nothing.",
        403: "The key lacks the scope.",
        404: "No such model.",
        409: "Cancelled.",
        413: "The body is too large.",
        429: "Too many requests, open requests, or pictures today.",
        500: "Drawing failed.",
        503: "More work than can be done in time.",
        504: "It could not be ready when it was wanted.",
    }.items()
}


def arrival(
    request: Request,
    api: str,
    *,
    body: bytes,
    idempotency_key: str | None,
    read_timeout: float | None,
    asynchronous: bool = False,
) -> Arrival:
    """What a request says about itself."""
    deadline = None
    if read_timeout is not None and 0 < read_timeout < 1e6:
        deadline = time.monotonic() + read_timeout
    asked = hashlib.sha256(request.url.path.encode() + b"\n" + body).hexdigest()
    return Arrival(
        api, request.state.request_id, asynchronous, idempotency_key, asked, address(request, ""),
        deadline,
    )  # fmt: skip


IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key and body within the kept history: the same pictures, drawn once.",
    ),
]
ReadTimeout = Annotated[
    float | None,
    Header(
        alias="x-stainless-read-timeout",
        description="Seconds that the client waits; the order's deadline.",
    ),
]


@router.post(
    "/v1/images/generations",
    response_model=ImagesResponse,
    response_model_exclude_none=True,
    responses={
        200: {
            "description": "The pictures; with stream: true, server-sent events.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **PROBLEMS,
    },
    operation_id="generate_images",
)
async def generate(
    request: Request,
    body: ImageGenerationBody,
    caller: Writer,
    idempotency_key: IdempotencyKey = None,
    read_timeout: ReadTimeout = None,
) -> Response:
    """Draw pictures of a prompt."""
    generation: Generation = request.app.state.generation
    request.state.rate_headers = generation.hit(caller)
    ask = openai.to_ask(body, parts_of(request), caller.limits.tolerance)
    came = arrival(
        request, "openai", body=await request.body(), idempotency_key=idempotency_key,
        read_timeout=None if body.stream else read_timeout,  # there it is the time between events
    )  # fmt: skip
    work = await generation.accept(ask, caller, came)
    keep_on = idempotency_key is not None
    if body.stream:
        return streamed(request, work, ask, keep_on)
    return await collected(request, work, ask, caller, keep_on)


async def collected(
    request: Request, work: OpenRequest | StoredRequest, ask: Ask, caller: Caller, keep_on: bool
) -> Response:
    """All pictures in one answer. A client that goes away cancels its work, unless it can ask for
    the result again (`keep_on`)."""
    if isinstance(work, OpenRequest):
        ended = await _ended(request, work, keep_on)
        stored, error = ended.stored, ended.error
        kept = [work.kept[i] for i in sorted(work.kept)]
    else:
        stored, error = work, error_of(work)
        kept = [] if error else await _read(request, stored)
    if error is not None:
        raise error

    def told() -> bytes:
        data = [_data(request, ask, one) for one in kept]
        return openai.answer(stored, data, ask.model).model_dump_json(exclude_none=True).encode()

    data = await to_thread.run_sync(told, limiter=request.app.state.telling)
    return Response(data, media_type="application/json")


async def _ended(request: Request, work: OpenRequest, keep_on: bool) -> Ended:
    gone = asyncio.create_task(_disconnected(request))
    try:
        either: set[asyncio.Future[Any]] = {work.ended, gone}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not work.ended.done() and not keep_on:
            request.app.state.generation.cancel(work.stored.id)
        return await asyncio.shield(work.ended)
    finally:
        gone.cancel()


async def _disconnected(request: Request) -> None:
    """Returns when the client has gone."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return


async def _read(request: Request, stored: StoredRequest) -> list[Kept]:
    """An earlier request's pictures, for the same question asked again."""
    pictures = parts_of(request).store.pictures
    kept = []
    for picture in stored.pictures:
        data = await run_in_threadpool(pictures.get, picture.id, picture.media_type)
        if data is None or picture.erased is not None:
            raise Problem(410, f"the pictures of {stored.id} are no longer kept", "pictures_erased")
        kept.append(Kept(picture, data))
    return kept


def _data(request: Request, ask: Ask, kept: Kept) -> openai.ImageData:
    wanted = ask.labels.get("response_format", parts_of(request).settings.response_format)
    return openai.image_data(kept, signed_link(request, kept.picture) if wanted == "url" else None)


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


async def _events(
    request: Request, work: OpenRequest | StoredRequest, ask: Ask, keep_on: bool
) -> AsyncIterator[bytes]:
    completed = False
    try:
        if isinstance(work, StoredRequest):
            error = error_of(work)
            for kept in [] if error else await _read(request, work):
                yield await _told(request, _completed, work, kept, ask)
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
                    yield await _told(request, _completed, work.stored, told, ask)
                case Ended(error=error):
                    completed = True
                    if error is not None:
                        yield _failed(error)
    except (Problem, Flux1Error) as failure:
        completed = True
        problem = failure if isinstance(failure, Problem) else problem_of(failure)
        yield _event("error", problem.body())
    finally:
        if not completed and not keep_on and isinstance(work, OpenRequest):
            request.app.state.generation.cancel(work.stored.id)


async def _told(request: Request, say: Callable[..., bytes], *words: Any) -> bytes:
    """An event that counts a prompt's tokens: nothing else runs meanwhile, so one at a time."""
    return await to_thread.run_sync(say, *words, limiter=request.app.state.telling)


async def _with_heartbeat(told: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """What comes, and None whenever nothing came for a while: proxies cut silent answers."""
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


def _failed(error: Flux1Error) -> bytes:
    return _event("error", problem_of(error).body())


def _common(stored: StoredRequest, image: int, width: int, height: int, ask: Ask) -> dict[str, Any]:
    return {
        "created_at": int(stored.created.timestamp()),
        "size": f"{width}x{height}",
        "quality": ask.labels.get("quality", "auto"),
        "background": "opaque",
        "output_format": ask.output.format,
        "image_index": image,
        "id": stored.id,
        "model": stored.model,
    }


def _partial(stored: StoredRequest, preview: Preview, ask: Ask) -> bytes:
    buffer = io.BytesIO()
    preview.picture.save(buffer, ask.output.format.upper())
    name = "image_generation.partial_image"
    common = _common(stored, preview.image, *preview.picture.size, ask)
    return _event(
        name,
        {
            "type": name,
            "b64_json": base64.b64encode(buffer.getvalue()).decode(),
            "partial_image_index": preview.index,
            "step": preview.step,
            "steps": preview.steps,
            **common,
        },
    )


def _completed(stored: StoredRequest, kept: Kept, ask: Ask) -> bytes:
    name = "image_generation.completed"
    picture = kept.picture
    usage = openai.usage_of(stored, ask.model, images=1)
    return _event(
        name,
        {
            "type": name,
            "b64_json": base64.b64encode(kept.data).decode(),
            "seed": picture.seed,
            "image_id": picture.id,
            "usage": usage.model_dump(),
            "notes": stored.notes,
            **_common(stored, picture.index, picture.width, picture.height, ask),
        },
    )


@router.post("/v1/images/edits", responses=PROBLEMS, operation_id="edit_images")
async def edits(_: Writer) -> Response:
    """Not offered: no model that changes a picture is served yet."""
    raise _no_such_model("edits")


@router.post("/v1/images/variations", responses=PROBLEMS, operation_id="vary_images")
async def variations(_: Writer) -> Response:
    """Not offered: no model that changes a picture is served yet."""
    raise _no_such_model("variations")


def _no_such_model(what: str) -> Problem:
    return Problem(
        400,
        f"{what} are not offered: the models served here start from words alone; "
        "use /v1/images/generations",
        "unsupported_operation",
    )
