"""The arrival of a request for pictures, in whatever format: what it says about itself, and what
may be answered to it."""

import hashlib
import time
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header, Request

from flux1.server.links import address
from flux1.server.problems import ErrorEnvelope

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


@dataclass(frozen=True)
class Arrival:
    """The arrival of a request: through which wire format, to which address of ours, and what it
    says about itself."""

    api: str
    request_id: str
    asynchronous: bool = False
    idempotency_key: str | None = None
    body_hash: str = ""
    address: str = ""
    deadline: float | None = None


def arrival_of(
    request: Request,
    api: str,
    *,
    body: bytes,
    idempotency_key: str | None = None,
    read_timeout: float | None = None,
    asynchronous: bool = False,
) -> Arrival:
    """The arrival of this HTTP request. Its deadline is `read_timeout` seconds from now."""
    deadline = None
    if read_timeout is not None and 0 < read_timeout < 1e6:
        deadline = time.monotonic() + read_timeout
    asked = hashlib.sha256(request.url.path.encode() + b"\n" + body).hexdigest()
    return Arrival(
        api, request.state.request_id, asynchronous, idempotency_key, asked, address(request, ""),
        deadline,
    )  # fmt: skip
