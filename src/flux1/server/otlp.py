"""Traces as OpenTelemetry's spans, sent by OTLP over HTTP. No other file imports opentelemetry.

Spans wait in memory and leave from a thread of their own; what cannot be sent is dropped there.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi.telemetry import TelemetryConfig
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import StatusCode, Tracer, get_current_span, set_span_in_context

from flux1 import __version__
from flux1.errors import Flux1Error
from flux1.events import Finished, OrderEvent, Queued, Started
from flux1.server.failures import status_of
from flux1.server.tracing import RequestTrace, Tracing
from flux1.store.requests import StoredRequest

log = structlog.get_logger("flux1.server")
LAST_WORD_S = 5.0  # how long a stop waits for the collector


class OtlpTracing(Tracing):
    """Its own provider and thread: nothing is global. FastAPI makes the spans of HTTP requests."""

    def __init__(self, url: str) -> None:
        named = {"service.name": "flux1", "service.version": __version__}
        self._provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url)))
        self._tracer = self._provider.get_tracer("flux1", __version__)

    def telemetry(self) -> TelemetryConfig:
        return {
            **super().telemetry(), "tracing": True, "operation_spans": False,
            "tracer_provider": self._provider,
        }  # fmt: skip

    def received(self, scope: Mapping[str, Any], request_id: str) -> None:
        span = get_current_span()
        span.set_attribute("flux1.request_id", request_id)
        if scope["query_string"]:  # words of prompts, and what signs links
            span.set_attribute("url.query", "REDACTED")

    def request(self, stored: StoredRequest) -> RequestTrace:
        return RequestSpans(self._tracer, stored)

    def close(self) -> None:
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(LAST_WORD_S)
        if last.is_alive():
            log.warning("the last traces could not be sent in time", seconds=LAST_WORD_S)


class RequestSpans(RequestTrace):
    """A span for the request; below it one for each part of the work: `queue`, and of each picture
    `draw` and its laps."""

    def __init__(self, tracer: Tracer, stored: StoredRequest) -> None:
        self._tracer, began = tracer, time.time_ns()
        self._span = tracer.start_span(
            "job",
            start_time=began,
            attributes={
                "flux1.job_id": stored.id,
                "flux1.request_id": stored.request_id,
                "flux1.api": stored.api,
                "flux1.model": stored.model,
                "flux1.account_id": stored.account_id,
            },
        )
        self._below = set_span_in_context(self._span)
        self._marks: dict[int | None, int] = {None: began}  # the last part's end, of each picture

    def heard(self, event: OrderEvent) -> None:
        match event:
            case Queued(ahead=ahead, seconds=seconds):
                told = {"flux1.pictures_ahead": ahead, "flux1.predicted_wait_s": seconds}
                self._span.add_event("queued", told)
            case Started():
                self.lap("queue", None)
            case Finished(image=image):
                self.lap("draw", image)

    def lap(self, part: str, image: int | None) -> None:
        began, now = self._marks.get(image, self._marks[None]), time.time_ns()
        about = {} if image is None else {"flux1.image": image}
        self._tracer.start_span(part, self._below, attributes=about, start_time=began).end(now)
        self._marks[image] = now

    def ended(self, stored: StoredRequest, error: Flux1Error | None) -> None:
        self._span.set_attribute("flux1.status", stored.status)
        if error is not None:
            self._span.set_attribute("error.type", error.code)
            if status_of(error) == "failed":  # not where it was refused or given up
                self._span.set_status(StatusCode.ERROR, str(error))
        self._span.end()
