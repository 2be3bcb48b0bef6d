"""What becomes of requests and jobs, for a collector of traces. Off, it costs nothing."""

from collections.abc import Mapping
from typing import Any

from fastapi.telemetry import TelemetryConfig
from pydantic import HttpUrl

from flux1.errors import DependencyError, Flux1Error
from flux1.events import OrderEvent
from flux1.store.jobs import StoredJob


class JobTrace:
    """A job's way through the server. This one is not traced."""

    def heard(self, event: OrderEvent) -> None:
        """What the engine says of it."""

    def lap(self, part: str, image: int | None) -> None:
        """A part of the work on a picture (None: on all of them) is done: all that was done since
        the part before."""

    def ended(self, job: StoredJob, error: Flux1Error | None) -> None:
        """Nothing more will happen."""


class Tracing:
    """Where traces go: from this one, nowhere."""

    def telemetry(self) -> TelemetryConfig:
        """What FastAPI does by itself: nothing that the environment or a library could turn on."""
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}

    def received(self, scope: Mapping[str, Any], request_id: str) -> None:
        """An HTTP request (its ASGI scope) that is traced by FastAPI has this id."""

    def job(self, job: StoredJob) -> JobTrace:
        """The trace of a job that is taken up, below the HTTP request that is being answered."""
        return JobTrace()

    def close(self) -> None:
        """Send what is left, in bounded time. Blocks."""


def open_tracing(url: HttpUrl | None) -> Tracing:
    """Traces to the collector at `url` (OTLP over HTTP); none without one. DependencyError
    without the `otel` extra."""
    if url is None:
        return Tracing()
    try:
        from flux1.server.otlp import OtlpTracing
    except ImportError as failure:
        raise DependencyError("FLUX1_TRACES_URL", failure.name, "otel") from failure
    return OtlpTracing(str(url))
