"""Around every request: its id, a bound on its body, its headers, its line in the log."""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from fastapi import Request

from flux1.errors import Flux1Error
from flux1.server.bodies import Bodies, Message, Receive, Scope
from flux1.server.parts import Parts
from flux1.server.problems import Problem, unexpected
from flux1.server.web.sessions import own_cookies

log = structlog.get_logger("flux1.server")
Send = Callable[[Message], Awaitable[None]]


class Envelope:
    """The outermost middleware but for CORS: whatever happens inside ends in an answer."""

    def __init__(self, app: Any, parts: Parts, limits: Mapping[str, int]) -> None:
        self._app, self._parts, self._bodies = app, parts, Bodies(parts, limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope["method"], _plain(scope), send)
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id)
        self._parts.tracing.received(exchange.scope, exchange.request_id)
        try:
            await self._answer(exchange, receive)
        finally:
            exchange.note()
            structlog.contextvars.clear_contextvars()

    async def _answer(self, exchange: "Exchange", receive: Receive) -> None:
        scope = exchange.scope
        try:
            async with self._bodies.whole(scope, receive) as bounded:
                await self._app(scope, bounded, exchange.send)
        except (Problem, Flux1Error) as refused:
            await _tell(refused, scope, receive, exchange.send)
        except Exception:
            log.exception("unexpected failure", path=scope["path"])
            if exchange.begun:
                raise
            await _tell(unexpected(), scope, receive, exchange.send)


@dataclass
class Exchange:
    """One request and what is answered. `asked_method` is the client's own word; `begun` says that
    the answer's head is out."""

    asked_method: str
    scope: Scope
    out: Send
    request_id: str = field(default_factory=lambda: f"http_{secrets.token_hex(12)}")
    began: float = field(default_factory=time.perf_counter)
    status: int = 500
    begun: bool = False

    def __post_init__(self) -> None:
        self.state = self.scope.setdefault("state", {})
        self.state["request_id"] = self.request_id

    async def send(self, message: Message) -> None:
        """Send a part of the answer; its head with our own headers."""
        if message["type"] == "http.response.start":
            self.status, self.begun = message["status"], True
            extra = {
                "x-request-id": self.request_id,
                "openai-processing-ms": str(self._spent_ms()),
                **self.state.get("rate_headers", {}),
            }
            ours = ((name.encode(), value.encode()) for name, value in extra.items())
            message["headers"] = [*message["headers"], *ours]
        await self.out(message)

    def note(self) -> None:
        """Count the answer, and write its line in the log."""
        metrics = getattr(self.scope["app"].state, "metrics", None) if "app" in self.scope else None
        if metrics is not None:
            metrics.answered(self.asked_method, self.status)
        log.info(
            "http",
            method=self.asked_method,
            path=self.scope["path"],
            status=self.status,
            ms=self._spent_ms(),
            account=self.state.get("account"),
        )

    def _spent_ms(self) -> int:
        return round((time.perf_counter() - self.began) * 1000)


def _plain(scope: Scope) -> Scope:
    """The same request as routes know it: HEAD is a GET whose body the connection leaves out, and
    a slash at the end means nothing. Cookies are ours alone."""
    headers = [
        (name, own_cookies(value) if name == b"cookie" else value)
        for name, value in scope["headers"]
    ]
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    path = scope["path"].rstrip("/") or "/"
    return {**scope, "method": method, "path": path, "headers": headers}


async def _tell(problem: Problem | Flux1Error, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as the application itself does: with a page for people, else with the envelope."""
    kind = Problem if isinstance(problem, Problem) else Flux1Error
    answer = await scope["app"].exception_handlers[kind](Request(scope), problem)
    await answer(scope, receive, send)
