"""Request bodies: whose it is is known before it is kept, and all of it together is bounded in
size and in time."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute, iter_route_contexts

from flux1.server.auth import identified
from flux1.server.connections import place_of
from flux1.server.parts import Parts
from flux1.server.problems import Problem
from flux1.server.web.sessions import session_of

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

STRANGERS_BYTES = 65_536  # for somebody without a key or a log-in
ALL_BYTES, ONES_BYTES = 256 * 2**20, 72 * 2**20  # kept at one time: everybody's, and one account's
# A body may take so long, and more where it keeps coming at this rate.
PATIENCE_S, SLOWEST_BYTES_A_S = 20.0, 16_384


class Bodies:
    """The bodies that are kept now. One for each server, on its event loop."""

    def __init__(self, parts: Parts, limits: Mapping[str, int]) -> None:
        """`limits` are `declared_limits`; elsewhere the setting `body_bytes` holds."""
        self._parts, self._limits = parts, limits
        self._held: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def whole(self, scope: Scope, receive: Receive) -> AsyncIterator[Receive]:
        """A `receive` that gives the body in one message, for as long as it is needed.

        Problem 401 (before anything is read), 408, 413, 415, 503.
        """
        headers = dict(scope["headers"])
        if not headers.keys() & {b"content-length", b"transfer-encoding"}:
            yield receive
            return
        coding = headers.get(b"content-encoding", b"identity").decode("latin-1")
        if coding.lower() != "identity":
            raise Problem(415, f"content-encoding: {coding[:40]!r} is not read; send the body as "
                          "it is", "unsupported_media_type")  # fmt: skip
        owner, limit = await self._whose(scope)
        _check_length(headers.get(b"content-length", b"0"), limit)
        held: list[int] = []
        try:
            message = await self._read(receive, owner, limit, held)
            _check_text(headers.get(b"content-type", b""), message)
            yield _replaying(message, receive)
        finally:
            self._held[owner] -= sum(held)
            self._held += Counter()  # drops what is 0

    async def _whose(self, scope: Scope) -> tuple[str, int]:
        """Who brings a body, and how long it may be (Problem 401)."""
        request = Request(scope)
        if scope["path"].startswith("/v1/"):
            owner = (await identified(request)).account.id
        elif (session := await session_of(request)) is not None:
            owner = session.account.id
        else:
            return place_of(request.client.host if request.client else ""), STRANGERS_BYTES
        return owner, self._limits.get(scope["path"], self._parts.settings.body_bytes)

    async def _read(self, receive: Receive, owner: str, limit: int, held: list[int]) -> Message:
        """The whole body as one message, or that the client has gone."""
        clock = asyncio.get_running_loop().time
        last = clock() + PATIENCE_S
        parts: list[bytes] = []
        while True:
            try:
                async with asyncio.timeout_at(last + sum(held) / SLOWEST_BYTES_A_S):
                    message = await receive()
            except TimeoutError:
                raise Problem(408, "the body did not come in time", "request_timeout",
                              retry_after=1, headers={"connection": "close"}) from None  # fmt: skip
            if message["type"] == "http.disconnect":
                return message
            parts.append(message.get("body", b""))
            _check_length(str(sum(held) + len(parts[-1])).encode(), limit)
            self._hold(owner, len(parts[-1]))
            held.append(len(parts[-1]))
            if not message.get("more_body", False):
                return {"type": "http.request", "body": b"".join(parts), "more_body": False}

    def _hold(self, owner: str, count: int) -> None:
        all_of_it, ones = self._held.total() + count, self._held[owner] + count
        if all_of_it > ALL_BYTES or ones > ONES_BYTES:
            raise Problem(503, "too much is being sent to this server at the same time",
                          "server_busy", "service_unavailable_error", retry_after=5)  # fmt: skip
        self._held[owner] += count


def declared_limits(app: FastAPI) -> dict[str, int]:
    """The most bytes of a body, by path, where a route says so itself (`max_body_size`)."""
    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    known = [route for route in routes if isinstance(route, APIRoute)]
    return {route.path: route.max_body_size for route in known if route.max_body_size is not None}


def _check_length(length: bytes, limit: int) -> None:
    if not length.isdigit() or int(length) > limit:
        raise Problem(413, f"the body is larger than {limit} bytes", "request_too_large")


def _check_text(content_type: bytes, message: Message) -> None:
    """JSON is UTF-8 (RFC 8259, 8.1): no other codec is guessed from its bytes."""
    body = message.get("body", b"")
    if b"json" in content_type and (b"\0" in body[:4] or not _is_utf8(body)):
        raise Problem(400, "the body is not JSON: it is not UTF-8", "invalid_json")


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _replaying(message: Message, receive: Receive) -> Receive:
    messages = [message]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
