"""Picture files by signed link, and `/v1/verify`: where does this picture come from?"""

from datetime import UTC, datetime
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from flux1.server.auth import Caller, Reader
from flux1.server.generation import Generation
from flux1.server.links import picture_path
from flux1.server.parts import parts_of
from flux1.server.problems import ErrorEnvelope, Problem, not_found
from flux1.store.images import SUFFIXES, LinkSigner

router = APIRouter(tags=["pictures"])
MAX_PICTURE_BYTES = 32 * 2**20  # of a picture that is sent to be looked at


@router.get(
    "/v1/pictures/{name}",
    response_class=Response,
    responses={
        200: {"content": {f"image/{kind}": {} for kind in ("png", "jpeg", "webp")}},
        403: {"model": ErrorEnvelope, "description": "The link is not ours, or has expired."},
        404: {"model": ErrorEnvelope, "description": "No such picture."},
    },
    operation_id="get_picture",
)
async def picture(
    request: Request,
    name: str,
    exp: Annotated[str, Query(max_length=32)] = "",
    sig: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """A picture's file. The link in an answer is all that is needed, until it expires."""
    parts = parts_of(request)
    picture_id, _, suffix = name.partition(".")
    signer = LinkSigner(parts.store.secret)
    if suffix not in SUFFIXES.values() or not signer.check(picture_id, exp, sig, datetime.now(UTC)):
        raise Problem(
            403, "this link is not one of this server's, or it has expired", "invalid_link",
            "permission_error",
        )  # fmt: skip
    return await picture_answer(request, picture_id, name)


async def picture_answer(request: Request, picture_id: str, name: str) -> Response:
    """The bytes of a picture that the caller may see."""
    store = parts_of(request).store
    stored = await run_in_threadpool(store.requests.picture, picture_id)
    if stored is None or stored.erased is not None or not picture_path(stored).endswith(name):
        raise not_found("such picture; it may have been erased")
    data = await run_in_threadpool(store.pictures.get, picture_id, stored.media_type)
    if data is None:
        raise not_found("such picture; it may have been erased")
    headers = {
        "cache-control": "private, max-age=3600, immutable",
        "content-disposition": f'inline; filename="{name}"',
        "x-content-type-options": "nosniff",
    }
    return Response(data, media_type=stored.media_type, headers=headers)


class VerifyData(BaseModel):
    """A picture's statements about itself, and whether they can be believed."""

    found: bool
    valid: bool
    ours: bool
    model: str | None
    model_hash: str | None
    created: str | None
    signer: str | None
    problems: list[str]
    recipe: dict[str, Any] | None


_PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}
            for kind in ("png", "jpeg", "webp")
        },
    }
}


@router.post(
    "/v1/verify",
    max_body_size=MAX_PICTURE_BYTES,
    openapi_extra=_PICTURE_BODY,
    responses={
        status: {"model": ErrorEnvelope, "description": text}
        for status, text in {
            400: "The body is empty.",
            401: "No key, or one that opens nothing.",
            403: "The key lacks the scope.",
            413: "The body is too large.",
            429: "Too many requests.",
        }.items()
    },
    operation_id="verify_picture",
)
async def verify(request: Request, caller: Reader) -> VerifyData:
    """Send a picture file as the body: its content credentials are read and checked."""
    return await verify_data(request, caller, await request.body())


async def verify_data(request: Request, caller: Caller, data: bytes) -> VerifyData:
    """Return what a file says of itself, counted against the caller's rate (Problem 400, 429)."""
    generation: Generation = request.app.state.generation
    request.state.rate_headers = generation.hit(caller)
    if not data:
        raise Problem(400, "the body is empty; send the bytes of a picture", "empty_image_file")
    verify, threads = parts_of(request).credentials.verify, request.app.state.verifying
    report = await to_thread.run_sync(verify, data, limiter=threads)
    recipe = None if report.recipe is None else vars(report.recipe)
    return VerifyData(
        found=report.found, valid=report.valid, ours=report.ours, model=report.model,
        model_hash=report.model_hash,
        created=None if report.created is None else str(report.created),
        signer=report.signer, problems=list(report.problems), recipe=recipe,
    )  # fmt: skip
