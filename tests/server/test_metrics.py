"""What Prometheus reads, by Prometheus' own parser."""

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flux1.events import EngineStatus
from flux1.server.metrics import Metrics
from instant import InstantEngine

STATUS = EngineStatus(
    waiting=3, running=2, seconds=1.5, last_batch=4, last_call_s=0.25, pictures=7, failures=1,
    model_calls=99, alive=True, memory_free=2**33,
)  # fmt: skip


class StandingEngine(InstantEngine):
    """An engine of one status."""

    now = STATUS

    def status(self) -> EngineStatus:
        return self.now


@pytest.fixture
def engine():
    return StandingEngine({})


def read(metrics):
    """Every sample, by its name and labels."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_engines_figures_are_those_of_the_scrape(engine):
    metrics = Metrics(engine)
    found = read(metrics)
    assert found[("flux1_queue_pictures",)] == 3
    assert found[("flux1_running_pictures",)] == 2
    assert found[("flux1_batch_rows",)] == 4
    assert found[("flux1_model_call_seconds",)] == 0.25
    assert found[("flux1_pictures_total",)] == 7
    assert found[("flux1_picture_failures_total",)] == 1
    assert found[("flux1_model_calls_total",)] == 99
    assert found[("flux1_engine_alive",)] == 1
    assert found[("flux1_memory_free_bytes",)] == 2**33
    engine.now = replace(STATUS, alive=False, memory_free=2**20)
    assert read(metrics)[("flux1_engine_alive",)] == 0
    assert read(metrics)[("flux1_memory_free_bytes",)] == 2**20


def test_memory_that_cannot_be_known_is_not_told(engine):
    engine.now = replace(STATUS, memory_free=None)
    assert ("flux1_memory_free_bytes",) not in read(Metrics(engine))


def test_requests_and_answers_are_counted(engine):
    metrics = Metrics(engine)
    for status in ("succeeded", "succeeded", "failed"):
        metrics.ended("tiny", status, {"queue_s": 0.2, "draw_s": 3.0})
    metrics.answered("GET", 200)
    metrics.answered("BREW", 418)
    found = read(metrics)
    assert found["flux1_requests_total", "tiny", "succeeded"] == 2
    assert found["flux1_requests_total", "tiny", "failed"] == 1
    assert found["flux1_request_seconds_count", "queue"] == 3
    assert found["flux1_request_seconds_sum", "draw"] == 9.0
    assert found["flux1_http_answers_total", "GET", "200"] == 1
    assert found["flux1_http_answers_total", "other", "418"] == 1
