"""`POST /v1/images/generations`: OpenAI's Images API."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from flux1.server.arrival import PROBLEMS, IdempotencyKey, ReadTimeout, arrival_of
from flux1.server.ask import Ask
from flux1.server.auth import Caller, Writer
from flux1.server.failures import error_of
from flux1.server.generation import Generation
from flux1.server.links import signed_link
from flux1.server.open_request import Ended, Kept, OpenRequest
from flux1.server.openai import ImageGenerationBody, to_ask
from flux1.server.openai_answers import ImageData, ImagesResponse, answer, image_data
from flux1.server.parts import parts_of
from flux1.server.picture_files import read_again
from flux1.server.problems import Problem
from flux1.server.stream import counted, streamed
from flux1.store.requests import StoredRequest

router = APIRouter(tags=["images"])


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
    ask = to_ask(body, parts_of(request), caller.limits.tolerance)
    came = arrival_of(
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
        kept = [] if error else await read_again(parts_of(request), stored)
    if error is not None:
        raise error

    def told() -> bytes:
        data = [_data(request, ask, one) for one in kept]
        return answer(stored, data, ask.model).model_dump_json(exclude_none=True).encode()

    return Response(await counted(request, told), media_type="application/json")


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


def _data(request: Request, ask: Ask, kept: Kept) -> ImageData:
    wanted = ask.labels.get("response_format", parts_of(request).settings.response_format)
    return image_data(kept, signed_link(request, kept.picture) if wanted == "url" else None)


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
