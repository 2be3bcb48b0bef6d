"""The sink of traces: to a collector, or nowhere."""

from pydantic import HttpUrl

from flux1.errors import DependencyError
from flux1.server.tracing import Tracing


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
