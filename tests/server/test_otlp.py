"""What a collector of traces receives from a running service, by OpenTelemetry's own schema."""

import http.client
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pydantic import HttpUrl

from flux1 import __version__
from flux1.errors import EngineError, SettingsError
from flux1.events import Failed, Queued, Started
from flux1.server import otlp
from flux1.server.collector import open_tracing
from flux1.settings import ServerSettings, read
from instant import InstantEngine
from service import Running, serving

TRACE, ABOVE = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
LAPS = ["draw", "wait", "classify", "encode", "sign", "store"]


class Failing(InstantEngine):
    """Begins, and draws nothing; cannot say how it is."""

    def submit(self, order, listener):
        listener(Queued(3, 1.5))
        listener(Started())
        listener(Failed(0, EngineError("the card is gone")))

    def status(self):
        raise ZeroDivisionError


class Collector(ThreadingHTTPServer):
    """Takes traces as any collector does, and keeps them."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.requests: list[ExportTraceServiceRequest] = []
        self.url = HttpUrl(f"http://127.0.0.1:{self.server_port}/v1/traces")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/traces"
            assert self.headers["content-type"] == "application/x-protobuf"
            body = self.rfile.read(int(self.headers["content-length"]))
            self.server.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    def spans(self) -> list[Span]:
        scopes = [
            scope
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
        ]
        return [span for scope in scopes for span in scope.spans]

    def resource(self) -> dict:
        return facts(self.requests[0].resource_spans[0].resource)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _quiet():
    with structlog.testing.capture_logs():
        yield


@contextmanager
def traced(caller: Running, url: HttpUrl, engine=InstantEngine) -> Iterator[httpx.Client]:
    """A client of a service that traces. The service has stopped, and sent all, when it ends."""
    parts = replace(caller.parts, engine=engine(caller.parts.engine.models),
                    tracing=open_tracing(url))  # fmt: skip
    headers = {"authorization": f"Bearer {caller.key}"}
    with serving(parts) as address:
        client = httpx.Client(base_url=address, timeout=60, headers=headers)
        with client:
            yield client


def facts(told) -> dict:
    """The attributes of a span, an event or a resource."""
    values = {one.key: one.value for one in told.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


def below(spans: list[Span], above: Span) -> list[Span]:
    assert all(span.trace_id == above.trace_id for span in spans)
    found = [span for span in spans if span.parent_span_id == above.span_id]
    return sorted(found, key=lambda span: (span.start_time_unix_nano, span.end_time_unix_nano))


def test_a_request_its_work_and_each_picture_are_one_trace_of_the_clients(caller, collector):
    with traced(caller, collector.url) as client:
        answer = client.post(
            "/v1/images/generations?secret=1",
            json={"model": "tiny", "prompt": "a fox", "n": 2, "size": "32x32"},
            headers={"traceparent": f"00-{TRACE}-{ABOVE}-01"},
        )
        assert answer.status_code == 200, answer.text
    spans = collector.spans()
    (request,) = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, ABOVE)
    assert request.name == "POST /v1/images/generations"
    said = facts(request)
    assert said == {
        "http.request.method": "POST", "http.route": "/v1/images/generations",
        "http.response.status_code": 200, "url.scheme": "http",
        "url.path": "/v1/images/generations", "url.query": "REDACTED",
        "network.protocol.version": "1.1", "server.address": "127.0.0.1",
        "server.port": client.base_url.port, "flux1.request_id": answer.headers["x-request-id"],
    }  # fmt: skip
    assert request.status.code == Status.STATUS_CODE_UNSET

    (stored,) = below(spans, request)
    (row,) = caller.parts.store.requests.search(account_id=caller.account_id)
    assert (stored.name, stored.kind) == ("job", Span.SPAN_KIND_INTERNAL)
    assert facts(stored) == {
        "flux1.job_id": row.id, "flux1.request_id": answer.headers["x-request-id"],
        "flux1.api": "openai", "flux1.model": "tiny", "flux1.account_id": caller.account_id,
        "flux1.status": "succeeded",
    }  # fmt: skip
    assert [(event.name, facts(event)) for event in stored.events] == [
        ("queued", {"flux1.pictures_ahead": 0, "flux1.predicted_wait_s": 0.0})
    ]
    parts = below(spans, stored)
    assert len(spans) == 2 + len(parts) == 2 + 1 + 2 * len(LAPS)
    (queue,) = [part for part in parts if not part.attributes]
    assert queue.name == "queue"
    assert queue.start_time_unix_nano == stored.start_time_unix_nano
    for image in (0, 1):
        laps = [part for part in parts if facts(part) == {"flux1.image": image}]
        assert [lap.name for lap in laps] == LAPS
        ends = [queue.end_time_unix_nano, *(lap.end_time_unix_nano for lap in laps)]
        assert [lap.start_time_unix_nano for lap in laps] == ends[:-1]
        assert ends[-1] <= stored.end_time_unix_nano <= request.end_time_unix_nano

    resource = collector.resource()
    assert (resource["service.name"], resource["service.version"]) == ("flux1", __version__)


def test_spans_are_named_by_routes_and_say_what_was_answered(caller, collector):
    with traced(caller, collector.url, Failing) as client:
        assert client.get("/v1/requests/req_1").status_code == 404
        assert client.get("/nothing").status_code == 404
        assert client.get("/health/ready").status_code == 500
        place = urlsplit(str(client.base_url)).netloc
        with_other_words = http.client.HTTPConnection(place)
        with_other_words.request("BREW", "/health/live")
        assert with_other_words.getresponse().status == 405
        with_other_words.close()
    told = {
        span.name: (facts(span)["http.response.status_code"], facts(span)["http.request.method"],
                    facts(span).get("error.type"), span.status.code)
        for span in collector.spans()
    }  # fmt: skip
    assert told == {
        "GET /v1/requests/{job_id}": (404, "GET", None, Status.STATUS_CODE_UNSET),
        "GET": (404, "GET", None, Status.STATUS_CODE_UNSET),
        "GET /health/ready": (500, "GET", "500", Status.STATUS_CODE_ERROR),
        "HTTP /health/live": (405, "_OTHER", None, Status.STATUS_CODE_UNSET),
    }
    spans = collector.spans()
    assert not any(span.parent_span_id for span in spans)
    assert len({span.trace_id for span in spans}) == len(spans)


def test_a_request_that_fails_is_an_error_and_one_that_is_refused_is_not(caller, collector):
    with traced(caller, collector.url, Failing) as client:
        ask = {"model": "tiny", "size": "32x32"}
        for prompt, status in (("a fox", 500), ("a naked child", 400)):
            answer = client.post("/v1/images/generations", json=ask | {"prompt": prompt})
            assert answer.status_code == status, answer.text
    failed, refused = [span for span in collector.spans() if span.name == "job"]
    assert facts(failed)["flux1.status"] == "failed"
    assert facts(failed)["error.type"] == "engine_failed"
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert failed.status.message == "the card is gone"
    assert facts(refused)["flux1.status"] == "blocked"
    assert facts(refused)["error.type"] == "moderation_blocked"
    assert refused.status.code == Status.STATUS_CODE_UNSET


def test_a_client_that_does_not_sample_its_trace_is_heeded(caller, collector):
    with traced(caller, collector.url) as client:
        headers = {"traceparent": f"00-{TRACE}-{ABOVE}-00"}
        assert client.get("/health/live", headers=headers).status_code == 200
        assert client.get("/v1/models").status_code == 200
    assert [span.name for span in collector.spans()] == ["GET /v1/models"]


def test_a_collector_that_never_answers_holds_up_no_request_and_no_stop(caller, monkeypatch):
    monkeypatch.setattr(otlp, "LAST_WORD_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = HttpUrl(f"http://127.0.0.1:{listening.getsockname()[1]}/v1/traces")
        with traced(caller, url) as client:
            ask = {"model": "tiny", "prompt": "a fox", "size": "32x32"}
            assert client.post("/v1/images/generations", json=ask).status_code == 200
        listening.settimeout(60)
        asked, _ = listening.accept()
        with asked:
            assert asked.recv(1000).startswith(b"POST /v1/traces ")


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_without_an_address_what_sends_traces_is_not_loaded():
    done = run(
        "import sys, flux1.cli.serve, flux1.server.app\n"
        "from flux1.server.collector import open_tracing\n"
        "from flux1.server.tracing import Tracing\n"
        "assert type(open_tracing(None)) is Tracing\n"
        "parts = {'opentelemetry.sdk', 'opentelemetry.exporter', 'opentelemetry.proto'}\n"
        "sys.exit(' '.join(parts & set(sys.modules)) or 0)"
    )
    assert done.returncode == 0, done.stderr


def test_a_missing_extra_is_said_before_anything_is_opened(tmp_path):
    without = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from flux1.cli.main import main\n"
        "sys.argv = ['flux1', 'serve', '-m', 'tiny', '--port', '0']\n"
        "main()"
    )
    url, data = "http://localhost:4318/v1/traces", tmp_path / "data"
    done = run(without, FLUX1_TRACES_URL=url, FLUX1_DATA=str(data))
    assert done.returncode == 2
    said = r"flux1: FLUX1_TRACES_URL needs opentelemetry\S+, which is not installed; .+'\.\[otel\]'"
    assert re.fullmatch(said, done.stderr.strip())
    assert not data.exists()


def test_the_address_comes_from_the_environment_and_is_one(monkeypatch):
    monkeypatch.setenv("FLUX1_TRACES_URL", "http://localhost:4318/v1/traces")
    assert str(read(ServerSettings).traces_url) == "http://localhost:4318/v1/traces"
    monkeypatch.setenv("FLUX1_TRACES_URL", "localhost:4318")
    with pytest.raises(SettingsError, match=r"^FLUX1_TRACES_URL: 'localhost:4318': URL scheme"):
        read(ServerSettings)
