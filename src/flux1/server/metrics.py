"""Metrics for Prometheus. Each server has its own registry: nothing is global."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from flux1.server.ports import Engine
from flux1.server.pulse import Pulse

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)


class _EngineCollector(Collector):
    """The engine's figures at the moment of the scrape."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self):  # type: ignore[no-untyped-def]
        now = self._engine.status()
        for name, help, value in (
            ("flux1_queue_pictures", "Pictures that wait.", now.waiting),
            ("flux1_running_pictures", "Pictures between noise and done.", now.running),
            ("flux1_predicted_wait_seconds", "When the waiting work should be done.", now.seconds),
            ("flux1_batch_rows", "Rows that shared the last model call.", now.last_batch),
            ("flux1_model_call_seconds", "How long the last model call took.", now.last_call_s),
            ("flux1_engine_alive", "Whether the engine's threads live.", float(now.alive)),
        ):
            yield GaugeMetricFamily(name, help, value=value)
        if now.memory_free is not None:
            help = "Memory of the models' device that could be taken."
            yield GaugeMetricFamily("flux1_memory_free_bytes", help, value=now.memory_free)
        for name, help, value in (
            ("flux1_pictures", "Pictures drawn.", now.pictures),
            ("flux1_picture_failures", "Pictures that failed.", now.failures),
            ("flux1_model_calls", "Calls of a transformer.", now.model_calls),
        ):
            yield CounterMetricFamily(name, help, value=value)


class Metrics:
    """Counters and histograms of requests, beside the engine's own figures."""

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_EngineCollector(engine))
        self.pulse = Pulse()
        for name, seconds in (
            ("longest_pause", lambda: self.pulse.longest_s),
            ("longest_work", lambda: self.pulse.work_s),
        ):
            gauge = Gauge(
                f"flux1_event_loop_{name}_seconds", "Since the start.", registry=self.registry
            )
            gauge.set_function(seconds)
        self._requests = Counter(
            "flux1_requests", "Requests that ended.", ["model", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "flux1_request_seconds",
            "From acceptance to the end, by part.",
            ["part"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._answers = Counter(
            "flux1_http_answers", "HTTP answers.", ["method", "status"], registry=self.registry
        )

    def ended(self, model: str, status: str, timings: dict[str, float]) -> None:
        self._requests.labels(model, status).inc()
        for part, seconds in timings.items():
            self._seconds.labels(part.removesuffix("_s")).observe(seconds)

    def answered(self, method: str, status: int) -> None:
        known = method if method in _METHODS else "other"  # a client may send any word
        self._answers.labels(known, str(status)).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
