"""A server that is told to stop: whoever waits learns so, what may wait is kept, nothing hangs."""

import json
import socket
import threading

import httpx2 as httpx
import pytest
import structlog

from flux1.server import app
from service import EMAIL, newcomer, serving

LONG = {"model": "tiny", "prompt": "a fox", "size": "512x512", "steps": 1000}


@pytest.fixture
def stopping(parts, monkeypatch):
    monkeypatch.setattr(app, "STOP_PATIENCE_S", 0.1)
    return parts


def test_whoever_waits_is_told_and_asynchronous_work_is_kept(stopping):
    parts, answers = stopping, {}

    def ask(name: str, path: str, body: dict) -> None:
        headers = {"x-key": running.key}
        answers[name] = httpx.post(url + path, json=body, headers=headers, timeout=60)

    with structlog.testing.capture_logs() as lines, serving(parts) as url:
        running = newcomer(parts, url, EMAIL)
        ask(
            "asynchronous",
            "/v1/tiny",
            {"prompt": "a fox", "steps": 1000, "width": 512, "height": 512},
        )
        asked = {
            "plain": threading.Thread(target=ask, args=("plain", "/v1/images/generations", LONG)),
            "stream": threading.Thread(
                target=ask, args=("stream", "/v1/images/generations", LONG | {"stream": True})
            ),
        }
        for one in asked.values():
            one.start()
        while len(parts.store.requests.search(account_id=running.account_id)) < 3:
            pass
    for one in asked.values():
        one.join(60)
    plain, stream = answers["plain"], answers["stream"]
    assert (plain.status_code, plain.json()["error"]["code"]) == (503, "shutting_down")
    assert int(plain.headers["retry-after"]) > 0
    assert plain.headers["x-should-retry"] == "true"
    *_, event, data = stream.text.strip().splitlines()
    assert event == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["code"] == "shutting_down"
    kept = parts.store.requests.get(answers["asynchronous"].json()["id"])
    assert kept.finished is None
    assert not [line for line in lines if line["log_level"] in ("error", "critical")]


def test_connections_that_say_nothing_or_half_of_it_do_not_hold_it_up(stopping):
    with serving(stopping) as url:
        place = url.removeprefix("http://").split(":")
        sockets = [socket.create_connection((place[0], int(place[1])), timeout=30) for _ in "abc"]
        sockets[1].sendall(b"GET / HT")
        sockets[2].sendall(b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nem")
    assert [one.recv(65_536)[:12] for one in sockets][:2] == [b"", b""]
    for one in sockets:
        one.close()
