"""Traces of HTTP requests and of what they draw, for a collector of traces. Off, it costs
nothing."""

from collections.abc import Mapping
from typing import Any

from fastapi.telemetry import TelemetryConfig

from flux1.errors import Flux1Error
from flux1.events import OrderEvent
from flux1.store.requests import StoredRequest


class RequestTrace:
    """A request's way through the server. This one is not traced."""

    def heard(self, event: OrderEvent) -> None:
        """Hear what the engine says of the request."""

    def lap(self, part: str, image: int | None) -> None:
        """A part of the work on a picture (None: on all of them) is done: all that was done since
        the part before."""

    def ended(self, stored: StoredRequest, error: Flux1Error | None) -> None:
        """Nothing more will happen."""


class Tracing:
    """A sink for traces; this one sends them nowhere."""

    def telemetry(self) -> TelemetryConfig:
        """Return the settings of FastAPI's telemetry: nothing that the environment or a library
        could turn on."""
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}

    def received(self, scope: Mapping[str, Any], request_id: str) -> None:
        """An HTTP request (its ASGI scope) that is traced by FastAPI has this id."""

    def request(self, stored: StoredRequest) -> RequestTrace:
        """The trace of a request taken up, below the HTTP request that is being answered."""
        return RequestTrace()

    def close(self) -> None:
        """Send what is left, in bounded time. Blocks."""
