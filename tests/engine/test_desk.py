"""The desk without threads: a test plays the worker."""

import pytest

from flux1.engine.desk import STALE_S, Desk, Tally
from flux1.engine.scheduler import Scheduler, Turn
from flux1.errors import CancelledError, DeadlineError, EngineError, OverloadedError
from flux1.events import Failed, Queued, Started
from flux1.request import Order, make_request
from flux1.variants import TINY


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def desk(clock):
    return Desk(Scheduler(tokens_per_call=48, max_running=1), 5, 1e9, clock)


def take(desk, order_id, *, images=1, evaluations=10, owner="ann", deadline=None):
    """The order's events, as they come out of the desk when `told` is called."""
    request = make_request(TINY, "a fox", num_images=images, steps=evaluations)
    pictures = [
        Turn(order_id, image, owner, "tiny", 48, evaluations, deadline=deadline)
        for image in range(images)
    ]
    events = []
    desk.take(Order(order_id, request, owner, deadline=deadline), pictures, events.append)
    return events


def told(desk):
    while not desk.outbox.empty():
        listener, event = desk.outbox.get()
        listener(event)


def test_the_cost_is_a_smooth_mean_that_one_slow_call_hardly_moves():
    tally = Tally()
    tally.call(1.0, "tiny", rows=2, tokens=100, seconds=50.0)  # warming up says nothing
    assert tally.costs == {}
    tally.call(2.0, "tiny", rows=2, tokens=100, seconds=1.0)
    assert tally.costs == {"tiny": 0.01}
    tally.call(3.0, "tiny", rows=1, tokens=100, seconds=0.5)
    assert tally.costs["tiny"] == pytest.approx(0.8 * 0.01 + 0.2 * 0.005)
    usual = tally.costs["tiny"]
    tally.call(4.0, "tiny", rows=1, tokens=100, seconds=1000.0)
    assert tally.costs["tiny"] == pytest.approx(1.2 * usual)
    assert (tally.model_calls, tally.last_batch, tally.last_call_s) == (4, 1, 1000.0)


def test_a_cost_measured_long_ago_refuses_nobody_at_an_idle_desk(desk, clock):
    desk.tally.costs["tiny"] = 1.0  # 480 s for the order below
    desk.tally.measured_at = clock.now
    with pytest.raises(DeadlineError, match=r"it should take 480\.0 s, wanted within 100\.0 s"):
        take(desk, "first", deadline=clock.now + 100)
    clock.now += STALE_S + 1
    events = take(desk, "second", deadline=clock.now + 100)
    told(desk)
    assert events == [Queued(0, 0.0)]


def test_come_again_when_there_should_be_room_but_never_after_more_than_two_minutes(desk, clock):
    desk.tally.costs["tiny"] = 0.01  # 0.48 s an evaluation
    desk.tally.measured_at = clock.now
    take(desk, "drawn")
    take(desk, "waits", images=4)
    with pytest.raises(OverloadedError, match="4 pictures wait already, at most 5 may") as refused:
        take(desk, "more", images=2)
    assert refused.value.retry_after == pytest.approx(5 * 4.8 * 2 / 4)
    desk.tally.costs["tiny"] = 10.0
    with pytest.raises(OverloadedError) as refused:
        take(desk, "more", images=2)
    assert refused.value.retry_after == 120


def test_a_deadline_ends_what_is_drawn_and_what_waits(clock):
    desk = Desk(Scheduler(tokens_per_call=48, max_running=2), 5, 1e9, clock)
    drawn, free, waits = (
        take(desk, order_id, deadline=deadline)
        for order_id, deadline in [("drawn", 1010.0), ("free", None), ("waits", 1010.0)]
    )
    for _ in range(2):
        desk.ready(desk.to_encode.get_nowait())
    clock.now = 1009.9
    assert [d.order.id for d in desk.next_round()] == ["drawn"]
    clock.now = 1010.0
    assert [d.order.id for d in desk.next_round()] == ["free"]
    told(desk)
    assert [type(event) for event in drawn] == [Queued, Started, Failed]
    assert [type(event) for event in waits] == [Queued, Failed]
    assert isinstance(drawn[-1].error, DeadlineError)
    assert isinstance(waits[-1].error, DeadlineError)
    assert [type(event) for event in free] == [Queued, Started]
    assert desk.tally.failures == 0


def test_a_picture_is_settled_once(desk):
    events = take(desk, "order", images=2)
    first = desk.to_encode.get_nowait()
    desk.ready(first)
    assert desk.next_round() == [first]
    desk.settle(first, Failed(0, EngineError("broken")))
    desk.settle(first, Failed(0, EngineError("again")))
    assert desk.to_encode.empty()  # the place is given again with the next round
    assert desk.cancel("order")
    assert not desk.cancel("order")
    told(desk)
    assert [type(event) for event in events] == [Queued, Started, Failed, Failed]
    assert [event.image for event in events[2:]] == [0, 1]
    assert isinstance(events[3].error, CancelledError)
    assert (desk.load(), desk.tally.failures) == ((0, 0, 0.0), 1)


def test_progress_counts_evaluations_made_and_pictures_that_ended_whole(desk):
    assert desk.progress("order") is None
    take(desk, "order", images=2, evaluations=4)
    take(desk, "waits")
    first = desk.to_encode.get_nowait()
    desk.ready(first)
    for made in range(4):
        assert desk.progress("order") == made / 8
        assert desk.next_round() == [first]
        assert desk.progress("order") == made / 8  # that one is being made
        desk.evaluated(first)
    assert desk.progress("order") == 4 / 8
    desk.settle(first, Failed(0, EngineError("broken")))
    assert desk.progress("order") == 4 / 8
    assert desk.progress("waits") == 0.0
    desk.cancel("order")
    assert desk.progress("order") is None


def test_an_order_of_the_same_id_is_not_taken_for_the_one_before(desk):
    take(desk, "order")
    before = desk.to_encode.get_nowait()
    desk.cancel("order")
    take(desk, "order")
    assert not desk.wants(before)
    assert desk.wants(desk.to_encode.get_nowait())
