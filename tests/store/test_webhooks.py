"""Messages wait for their time, and every attempt is logged."""

from datetime import timedelta

import pytest

from flux1.store.database import Database
from flux1.store.webhooks import Attempt, Deliveries
from store.samples import new_request

URL = "https://example.org/hook"


@pytest.fixture
def deliveries(database, requests, account):
    requests.accept(new_request(account.id))
    return Deliveries(database)


def test_a_message_is_due_at_once_and_until_it_arrives(deliveries, clock):
    id, begin = deliveries.add("req_1", URL, '{"id": "é"}'), clock.time
    (due,) = deliveries.due(clock.time, 10)
    assert (due.id, due.job_id, due.url, due.payload) == (id, "req_1", URL, '{"id": "é"}')
    assert (due.created, due.attempts) == (begin, 0)

    again = begin + timedelta(seconds=5)
    deliveries.record(id, None, "connection refused", again)
    assert deliveries.due(again - timedelta(microseconds=1), 10) == []
    (due,) = deliveries.due(again, 10)
    assert due.attempts == 1

    clock.time = again
    deliveries.record(id, 204, None, None)
    assert deliveries.due(again + timedelta(days=365), 10) == []
    (delivery,) = deliveries.for_request("req_1")
    assert delivery.next_attempt is None
    assert delivery.log == (
        Attempt(1, begin, None, "connection refused"),
        Attempt(2, again, 204, None),
    )


def test_the_longest_due_go_first(deliveries, clock):
    ids = []
    for _ in range(3):
        ids.append(deliveries.add("req_1", URL, "{}"))
        clock.advance(seconds=1)
    deliveries.record(ids[0], 500, None, clock.time)
    assert [d.id for d in deliveries.due(clock.time, 2)] == ids[1:]
    assert [d.id for d in deliveries.due(clock.time, 3)] == [*ids[1:], ids[0]]
    assert [d.id for d in deliveries.for_request("req_1")] == ids
    assert deliveries.for_request("req_0") == []


def test_retries_survive_a_restart(url, deliveries, clock):
    id = deliveries.add("req_1", URL, "{}")
    deliveries.record(id, 503, "answered 503", clock.time)
    restarted = Database.open(url, clock)
    (due,) = Deliveries(restarted).due(clock.time, 10)
    restarted.close()
    assert (due.id, due.attempts) == (id, 1)
