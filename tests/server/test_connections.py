"""Real sockets: connections that say nothing, or say it slowly, keep nobody else out."""

import contextlib
import logging
import socket
import subprocess
import sys

import pytest

from flux1.server import connections
from flux1.server.connections import ConnectionLimits, place_of
from flux1.server.logs import LINES, TRACEBACKS, Thinned
from service import serving

ASK = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"


class Sockets:
    """Opens connections from addresses of this machine, and closes them all."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self.target, self.stack = (host, int(port)), contextlib.ExitStack()

    def open(self, source: str = "127.0.0.1") -> socket.socket:
        made = socket.create_connection(self.target, timeout=30, source_address=(source, 0))
        return self.stack.enter_context(made)


@pytest.fixture
def sockets(service, request):
    """Connections to a server that allows six, four of them from one address."""
    limits = ConnectionLimits(total=6, per_address=4, proxies=getattr(request, "param", ()))
    with serving(service[0], limits) as url:
        made = Sockets(url)
        with made.stack:
            yield made


def answer(connection: socket.socket) -> bytes:
    """What comes, to the end of its JSON or of the connection."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while not said.endswith(b"}") and (more := connection.recv(4096)):
            said += more
    return said


def asked(connection: socket.socket, what: bytes = ASK) -> bytes:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(what)
    return answer(connection)


def test_silent_connections_of_one_address_keep_nobody_else_out(sockets):
    silent = [sockets.open() for _ in range(4)]
    refused = answer(sockets.open())
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b'"too_many_connections"' in refused
    assert asked(sockets.open("127.0.0.2")).startswith(b"HTTP/1.1 200 ")
    assert asked(silent[0]).startswith(b"HTTP/1.1 200 ")


def test_when_all_are_taken_the_one_that_said_nothing_for_longest_gives_way(sockets):
    silent = [sockets.open(f"127.0.0.{2 + k // 3}") for k in range(6)]
    assert all(asked(one).startswith(b"HTTP/1.1 200 ") for one in silent[1:])
    assert asked(sockets.open()).startswith(b"HTTP/1.1 200 ")
    assert answer(silent[0]) == b""
    assert asked(silent[1]).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sockets", [("127.0.0.1",)], indirect=True)
def test_a_proxys_connections_are_many_peoples(sockets):
    assert all(asked(sockets.open()).startswith(b"HTTP/1.1 200 ") for _ in range(6))


@pytest.mark.parametrize("begun", [b"", b"GET / HT", ASK[:-2], ASK + b"G", ASK + ASK[:-2]])
def test_a_head_that_does_not_come_to_its_end_is_not_waited_for(sockets, monkeypatch, begun):
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    slow = sockets.open()
    slow.sendall(begun)
    while answer(slow):
        pass  # until it is closed; never, where nobody counts


@pytest.mark.parametrize(
    "what",
    [
        ASK[:-2] + b"".join(b"a%d: b\r\n" % k for k in range(400)) + b"\r\n",
        ASK * 100,
        b"POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * 2_000,
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    ],
    ids=["headers", "pipelined", "chunks", "bytes", "tls"],
)
def test_what_is_torn_into_many_pieces_is_not_put_together(sockets, what):
    said = b""
    connection = sockets.open()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(what)
    while more := answer(connection):
        said += more
    assert said.count(b" 200 OK") < 50
    assert said.count(b" 400 Refused") <= 1
    assert asked(sockets.open("127.0.0.2")).startswith(b"HTTP/1.1 200 ")


def test_one_customers_network_is_one_address():
    assert place_of("2001:db8:1:2:3::4") == place_of("2001:db8:1:2::9")
    assert place_of("2001:db8:1:2::9") != place_of("2001:db8:1:3::9")
    assert place_of("::ffff:192.0.2.1") == place_of("192.0.2.1")


SERVER = """
import asyncio, resource, sys, uvicorn
from flux1.server import connections
from flux1.server.logs import log_to_stderr
from flux1.cli import serve
resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
log_to_stderr(False)
async def app(scope, receive, send): pass
listening = serve._listen("127.0.0.1", 0)
limits = connections.ConnectionLimits()
say = lambda: print(listening.getsockname()[1], flush=True)
serve._run(uvicorn.Server(connections.configure(app, limits)), listening, say)
"""


def test_a_server_without_descriptors_says_so_in_few_lines():
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        sockets = Sockets(f"http://127.0.0.1:{int(server.stdout.readline())}")
        with sockets.stack:
            for _ in range(64):
                sockets.open()
            first = server.stderr.readline()
            server.terminate()
            rest = server.stderr.read()
    assert b"could not be accepted" in first
    assert b"Traceback" not in rest
    assert rest.count(b"\n") < 2 * LINES


def test_the_limit_of_open_files_is_raised_and_no_more_is_promised():
    script = (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (200, 400));"
        "from flux1.server.connections import limits_for;"
        "print(limits_for(2000, 9, ' 10.0.0.1, ::1').total, r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.split()[-2:] == [b"272", b"400"]


def test_lines_of_a_kind_are_thinned_and_counted(monkeypatch):
    now = iter([0.0] * (LINES + 50) + [100.0])
    monkeypatch.setattr("flux1.server.logs.time.monotonic", lambda: next(now))
    thinned = Thinned()

    def line(message, **more):
        return logging.LogRecord("any", logging.WARNING, "", 0, message, (), None, **more)

    passed = [thinned.filter(line({"event": "refused"})) for _ in range(LINES + 10)]
    assert sum(passed) == LINES
    failing = {"event": "failed", "exc_info": True}
    assert sum(thinned.filter(line(failing)) for _ in range(40)) == TRACEBACKS
    last = line({"event": "refused"})
    assert thinned.filter(last)
    assert last.msg["left_out"] == 10
