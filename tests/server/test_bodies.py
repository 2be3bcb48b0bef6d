"""Bodies over real sockets: nobody's is kept before it is known whose it is, and none for ever."""

import json
import socket

import httpx2 as httpx
import pytest

from flux1.server import bodies
from flux1.store.keys import KeyLimits


def opened(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def head(path: str, length: int, **headers: str) -> bytes:
    """Of a request whose body is `length` bytes, and does not come yet."""
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def answered(connection: socket.socket) -> tuple[int, str]:
    """Status and code of an answer in the envelope."""
    said = b""
    while not said.endswith(b"}}"):
        more = connection.recv(65_536)
        assert more, said
        said += more
    top, _, body = said.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(body)["error"]["code"]


@pytest.mark.parametrize("path", ["/v1/verify", "/v1/images/generations", "/v1/flux-dev", "/v1/x"])
@pytest.mark.parametrize("key", [None, "fx1_wrong", "fx1_" + "0" * 43])
def test_without_a_key_no_body_is_waited_for(service, path, key):
    with opened(service[1]) as connection:
        named = {} if key is None else {"authorization": f"Bearer {key}"}
        connection.sendall(head(path, 1_000_000, **named))
        assert answered(connection) == (401, "invalid_api_key")


@pytest.mark.parametrize("path", ["/login", "/signup", "/verify", "/playground/generate", "/x"])
def test_a_stranger_brings_little(service, path):
    with opened(service[1]) as connection:
        connection.sendall(head(path, bodies.STRANGERS_BYTES + 1))
        assert answered(connection) == (413, "request_too_large")


@pytest.mark.parametrize("path", ["/v1/verify", "/verify", "/v1/flux-dev", "/playground/generate"])
def test_a_body_is_as_long_as_its_route_says_at_most(caller, path, monkeypatch):
    monkeypatch.setattr(bodies, "PATIENCE_S", 0.2)
    token = caller.parts.store.accounts.open_session(caller.account_id, 1)
    headers = {"x_key": caller.key, "cookie": f"flux1_session={token}"}
    usual, of_pictures = caller.parts.settings.body_bytes, 32 * 2**20
    most = of_pictures if path.endswith("/verify") else usual
    for length, answer in (
        (most, (408, "request_timeout")),
        (most + 1, (413, "request_too_large")),
    ):
        with opened(caller.url) as connection:
            connection.sendall(head(path, length, **headers))
            assert answered(connection) == answer


def test_a_body_that_stops_coming_is_not_waited_for(caller, monkeypatch):
    monkeypatch.setattr(bodies, "PATIENCE_S", 0.2)
    with opened(caller.url) as connection:
        connection.sendall(head("/v1/verify", 1_000_000, x_key=caller.key) + b"some")
        assert answered(connection) == (408, "request_timeout")


def test_what_is_kept_is_bounded_for_one_account_and_for_all(caller, monkeypatch):
    monkeypatch.setattr(bodies, "ONES_BYTES", 60_000)
    first, second = opened(caller.url), opened(caller.url)
    with first, second:
        asked = head("/v1/verify", 50_000, x_key=caller.key)
        for connection in (first, second):
            connection.sendall(asked + bytes(40_000))
        # whichever is read second does not fit
        early, late = sorted((first, second), key=lambda c: c is not _first_to_say(first, second))
        assert answered(early) == (503, "server_busy")
        late.sendall(bytes(10_000))
        assert b"200 OK" in late.recv(65_536)
    monkeypatch.setattr(bodies, "ALL_BYTES", 20_000)
    with opened(caller.url) as connection:
        connection.sendall(asked + bytes(50_000))
        assert answered(connection) == (503, "server_busy")
    monkeypatch.undo()
    with opened(caller.url) as connection:  # nothing is left of what was refused
        connection.sendall(asked + bytes(50_000))
        assert b"200 OK" in connection.recv(65_536)


def _first_to_say(*connections: socket.socket) -> socket.socket:
    import select

    ready, _, _ = select.select(connections, [], [], 10)
    return ready[0]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\x1f\x8b", {"content-encoding": "gzip"}, 415),
        (b"{}", {"content-encoding": "br"}, 415),
        ('{"prompt": "a fox"}'.encode("utf-16"), {}, 400),
        ('{"prompt": "a fox"}'.encode("utf-16-le"), {}, 400),
        (b'{"prompt": "\xff"}', {}, 400),
        (b"[" * 100_000, {}, 400),
        (b'{"seed": ' + b"1" * 100_000 + b"}", {}, 400),
    ],
    ids=["gzip", "brotli", "utf-16", "utf-16-le", "latin-1", "deep", "huge"],
)
def test_a_body_is_json_in_utf_8_or_refused(caller, body, headers, status):
    named = {"x-key": caller.key, "content-type": "application/json", **headers}
    for path in ("/v1/images/generations", "/v1/tiny"):
        answer = httpx.post(caller.url + path, content=body, headers=named)
        assert answer.status_code == status
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_verifying_counts_against_the_rate(caller):
    few = KeyLimits(requests_per_minute=2)
    _, key = caller.parts.store.keys.create(caller.account_id, "few", limits=few)
    answers = [
        httpx.post(f"{caller.url}/v1/verify", content=b"x", headers={"x-key": key})
        for _ in range(3)
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
