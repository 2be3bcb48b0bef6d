"""Connections, before anybody knows what they want: how many there may be, and how long each may
take to say it.

uvicorn bounds none of this by itself. A connection without a request costs its sender nothing, so
here it gives way to those that have one.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, cast

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from flux1.server.problems import Problem

log = structlog.get_logger("flux1.server")
HEAD_S = 10.0  # from connecting, or from the last answer, to the end of a request's head
FLUSH_S = 2.0  # how long a server that stops waits for answers to get out
STALLED_S = 60.0  # how long an answer may wait for a client that does not read
READ_BYTES = 8_192  # taken in at once: what it costs to parse bounds a pause of everybody
# Each header and each chunk of a body is work: there may be so many, and more where they are long.
LINES, BYTES_A_LINE = 256, 128
DESCRIPTORS = 65_536
KEPT_DESCRIPTORS = 128  # for the database, pictures and webhooks


@dataclass(frozen=True)
class ConnectionLimits:
    """The number of connections that there may be: `total`, and `per_address` (an IPv6 network
    of 64 bits counts as one). Those of `proxies` are many people's, and are counted in the total
    alone."""

    total: int = 2_000
    per_address: int = 200
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")


def serve_app(app: Any, limits: ConnectionLimits) -> "Server":
    """The server of an application whose `state.end_work` ends what is open."""
    return Server(configure(app, limits), lambda: app.state.end_work())


def configure(app: Any, limits: ConnectionLimits) -> uvicorn.Config:
    """Return how uvicorn serves an application here."""
    return uvicorn.Config(
        app,
        http=cast(Any, type("Connection", (Connection,), {"limits": limits})),
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=list(limits.proxies),
        backlog=128,  # also how many are accepted, and how many failures told, in one go
        timeout_graceful_shutdown=30,
    )


class Server(uvicorn.Server):
    """uvicorn's, stopped in bounded time: what is open is ended and told so, then cut off."""

    def __init__(self, config: uvicorn.Config, end_work: Callable[[], Awaitable[None]]) -> None:
        """`end_work` lets nothing new in, and returns once everything open has had its answer."""
        super().__init__(config)
        self._end_work = end_work

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ending = asyncio.create_task(self._end())
        await super().shutdown(sockets)
        await ending

    async def _end(self) -> None:
        await self._end_work()
        open_ones = cast("set[Connection]", self.server_state.connections)
        for _ in range(round(FLUSH_S / 0.05)):
            if not any(one.busy for one in open_ones):
                break
            await asyncio.sleep(0.05)
        for one in tuple(open_ones):
            one.transport.abort()


class Connection(H11Protocol):
    """One client's connection."""

    limits = ConnectionLimits()
    place: str | None = None
    received = lines = 0
    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        self.place = place_of(self.client[0]) if self.client else None
        if why := self._refusal():
            self._refuse(Problem(503, why, "too_many_connections", "server_error", retry_after=5))
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop(self._deadline, self._stalled)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_torn_up(data):
            self.send_400_response("")
            return
        super().data_received(data)
        if self.busy:
            self._stop(self._deadline)

    def on_response_complete(self) -> None:
        self._wait()
        super().on_response_complete()
        if self.busy:  # the next request had come already
            self._stop(self._deadline)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop(self._stalled)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        if self.busy:
            self.transport.abort()
        else:
            self._refuse(Problem(400, "this is not HTTP/1.1 as it is read here", "invalid_request"))

    @property
    def busy(self) -> bool:
        """True if a request of this connection is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _is_torn_up(self, data: bytes) -> bool:
        """Return whether heads and chunks come in more and smaller pieces than anybody needs."""
        if self.busy and not any(name == b"transfer-encoding" for name, _ in self.headers):
            return False
        self.received += len(data)
        self.lines += data.count(b"\n")
        return self.lines > LINES + self.received // BYTES_A_LINE

    def _refusal(self) -> str | None:
        others = cast("set[Connection]", self.connections) - {self}
        if self.place is not None and self.client[0] not in self.limits.proxies:  # type: ignore[index]
            same = sum(other.place == self.place for other in others)
            if same >= self.limits.per_address:
                return f"{self.limits.per_address} connections are open from this address"
        if len(others) < self.limits.total:
            return None
        idle = [other for other in others if not other.busy]
        if not idle:
            return f"{self.limits.total} connections are open"
        min(idle, key=Connection._patience).transport.abort()
        return None

    def _patience(self) -> float:
        return self._deadline.when() if self._deadline else 0.0

    def _wait(self) -> None:
        self.received = self.lines = 0
        self._stop(self._deadline)
        self._deadline = self.loop.call_later(HEAD_S, self.transport.abort)

    def _refuse(self, problem: Problem) -> None:
        log.info("a connection was refused", why=problem.message, address=self.place)
        body = json.dumps(problem.body()).encode()
        head = f"HTTP/1.1 {problem.status} Refused\r\ncontent-type: application/json\r\n"
        if problem.retry_after:
            head += f"retry-after: {problem.retry_after:.0f}\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    @staticmethod
    def _stop(*timers: asyncio.TimerHandle | None) -> None:
        for timer in timers:
            if timer is not None:
                timer.cancel()


def place_of(address: str) -> str:
    """Whose an address is: itself, or the network of 64 bits that one IPv6 customer has."""
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if known.version == 4:
        return str(known)
    inside = known.ipv4_mapped
    return str(inside or ip_network((known, 64), strict=False))


def limits_for(total: int, per_address: int, proxies: str) -> ConnectionLimits:
    """The limits that this process can keep: it asks the system for as many open files as it may
    have, and promises no more connections than those hold. `proxies` are addresses with commas."""
    room = max(16, _descriptors() - KEPT_DESCRIPTORS)
    if room < total:
        log.warning("fewer connections than set: the limit of open files is low", connections=room)
    named = tuple(name.strip() for name in proxies.split(",") if name.strip())
    return ConnectionLimits(min(total, room), per_address, named)


def _descriptors() -> int:
    """Return how many files this process may have open, after asking for more."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def tell_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handle failures in the event loop that are nobody's: one line where the system
    has no more to give, since asyncio tries to accept over and over and tells each failure at
    length."""
    failure = context.get("exception")
    if isinstance(failure, OSError) and "accept" in str(context.get("message")):
        log.warning("a connection could not be accepted", reason=failure.strerror)
    else:
        loop.default_exception_handler(context)
