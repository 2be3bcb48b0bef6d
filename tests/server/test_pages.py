"""What went wrong: a page where a browser asked for one, the envelope where a program did."""

import http.client
import json
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import urlencode

import httpx2 as httpx
import pytest
import structlog

from instant import InstantEngine
from service import EMAIL, PASSWORD, serving

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"
BROWSER, PROGRAM = {"accept": CHROME}, {"accept": "application/json"}
POLICY = {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"}


class Unwell(InstantEngine):
    """Fails as nobody thought of when it is asked how it is."""

    def status(self):
        raise ZeroDivisionError("the engine's own words")


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[dict]]:
    """The service's log."""
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture(scope="module")
def client(service) -> Iterator[httpx.Client]:
    """The administrator's, signed in at a service with an unwell engine."""
    parts, _ = service
    joined = replace(parts, engine=Unwell(parts.engine.models))
    accounts = parts.store.accounts
    account = accounts.register(EMAIL, PASSWORD)
    cookies = {"flux1_session": accounts.open_session(account.id, 1)}
    with serving(joined) as url, httpx.Client(base_url=url, cookies=cookies, timeout=60) as client:
        yield client


def is_page(answer: httpx.Response, status: int, said: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<h1>{HTTPStatus(status).phrase}</h1>" in answer.text
    assert said in answer.text
    assert '<link rel="stylesheet" href="/static/app.css' in answer.text
    assert set(answer.headers["content-security-policy"].split("; ")) >= POLICY
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"].startswith("http_")


def is_envelope(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["code"] == code
    assert answer.headers["x-should-retry"] in ("true", "false")
    assert answer.headers["x-request-id"].startswith("http_")


def test_what_is_not_there_or_cannot_be_done_so(client):
    is_page(client.get("/nothing", headers=BROWSER), 404, "here is no /nothing here")
    is_envelope(client.get("/nothing", headers=PROGRAM), 404, "not_found")
    put = client.put("/keys", headers=BROWSER)
    is_page(put, 405, "Back to the start")
    assert put.headers["allow"] == "GET, POST"
    is_envelope(client.put("/keys", headers=PROGRAM), 405, "method_not_allowed")


def test_an_address_that_is_no_path(client):
    raw = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=60)
    raw.request("OPTIONS", "*", headers=PROGRAM)
    answer = raw.getresponse()
    assert answer.status == 404
    assert json.loads(answer.read())["error"]["code"] == "not_found"
    raw.close()


@pytest.mark.parametrize("told", [True, False], ids=["its length told", "its length not told"])
def test_a_form_that_is_too_large(client, service, told):
    limit = service[0].settings.body_bytes
    body = urlencode({"csrf": "x", "name": "n" * limit}).encode()
    sent = body if told else iter([body])
    headers = {"content-type": "application/x-www-form-urlencoded"}
    form = client.post("/keys", content=sent, headers=BROWSER | headers)
    is_page(form, 413, f"the body is larger than {limit} bytes")
    sent = body if told else iter([body])
    form = client.post("/keys", content=sent, headers=PROGRAM | headers)
    is_envelope(form, 413, "request_too_large")


def test_a_failure_that_nobody_thought_of(client, logged):
    broken = client.get("/admin", headers=BROWSER)
    is_page(broken, 500, "failed in a way it did not expect")
    assert EMAIL in broken.text  # still signed in, with the ways to the other pages
    assert "engine&#39;s own words" not in broken.text
    assert broken.headers["retry-after"] == "1"
    is_envelope(client.get("/admin", headers=PROGRAM), 500, "server_error")
    told = [line for line in logged if line["event"] == "unexpected failure"]
    assert [line["path"] for line in told] == ["/admin", "/admin"]


@pytest.mark.parametrize("path", ["/metrics", "/health/ready", "/health", "/v1", "/v1/nothing"])
def test_what_programs_read_answers_programs(client, path):
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code in (404, 500)
    assert json.loads(answer.text)["error"]["type"] in ("server_error", "invalid_request_error")
