"""Picture files by signed link, and `/v1/verify`: where does this picture come from?"""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from flux1.server.auth import Reader
from flux1.server.parts import parts_of
from flux1.server.picture_answer import picture_answer
from flux1.server.problems import ErrorEnvelope, Problem
from flux1.server.verifying import MAX_PICTURE_BYTES, VerifyData, verify_data
from flux1.store.images import SUFFIXES, LinkSigner

router = APIRouter(tags=["pictures"])


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
