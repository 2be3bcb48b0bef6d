"""The engine on random weights, with real threads. Tests wait for events, and hold model calls back
with a hook on the network; nothing is timed."""

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from queue import Queue

import numpy as np
import pytest
import torch

from flux1 import FluxPipeline
from flux1.engine.engine import Engine, EngineSettings
from flux1.errors import (
    CancelledError,
    DeadlineError,
    EngineError,
    OverloadedError,
    RequestError,
    UnknownModelError,
)
from flux1.events import Failed, Finished, OrderEvent, Preview, Queued, Started
from flux1.pipeline.encode import Conditioning
from flux1.request import Order, make_request

PATIENCE = 60.0  # seconds; only a failing test waits so long
_ids = count()


class Listener:
    """Keeps an order's events and lets a test wait for them."""

    def __init__(self):
        self.events: list[OrderEvent] = []
        self._come: Queue[OrderEvent] = Queue()

    def __call__(self, event):
        self.events.append(event)
        self._come.put(event)

    def wait(self, kind):
        """The next event of this kind; those before it are passed over."""
        while not isinstance(event := self._come.get(timeout=PATIENCE), kind):
            pass
        return event

    def wait_for_end(self, pictures=1):
        """What became of each picture, by number."""
        ends = [self.wait((Finished, Failed)) for _ in range(pictures)]
        return {event.image: event for event in ends}

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


class Gate:
    """Counts model calls, and holds them back while it is shut."""

    def __init__(self):
        self.calls, self.rows = 0, []
        self.reached, self._open = threading.Event(), threading.Event()
        self._open.set()

    def __call__(self, _network, _args, inputs):
        self.calls += 1
        self.rows.append(len(inputs["img"]))
        self.reached.set()
        assert self._open.wait(PATIENCE)

    def shut(self):
        self.reached.clear()
        self._open.clear()

    def open(self):
        self._open.set()


@pytest.fixture
def gate(tiny):
    gate = Gate()
    handle = tiny.transformer.register_forward_pre_hook(gate, with_kwargs=True)
    yield gate
    handle.remove()


@contextmanager
def running(*pipelines, **settings):
    engine = Engine({p.variant.id: p for p in pipelines}, {}, EngineSettings(**settings))
    try:
        yield engine
        assert engine.status().alive
    finally:
        engine.close(0.0)


@pytest.fixture
def engine(tiny, gate):
    with running(tiny) as engine:
        yield engine
        gate.open()


def order(tiny, prompt="a fox", *, owner="ann", previews=0, deadline=None, priority=0, **fields):
    request = make_request(tiny.variant, prompt, **{"seed": 7, "steps": 3} | fields)
    return Order(f"order-{next(_ids)}", request, owner, 1.0, priority, deadline, previews)


def apart(picture, other):
    """The largest difference, in levels of 255."""
    return np.abs(np.asarray(picture).astype(int) - np.asarray(other).astype(int)).max()


MIXED = [
    {"prompt": "a fox", "seed": 1, "steps": 9},
    {"prompt": "a fox", "seed": 2, "steps": 4, "solver": "heun"},
    {"prompt": "a tree", "seed": 3, "steps": 5, "guidance": 9.0},
    {"prompt": "a hat", "seed": 4, "steps": 6, "true_cfg": 3.0, "negative_prompt": "a tree"},
    {"prompt": "a boat", "seed": 5, "steps": 5, "width": 96, "height": 48},
    {"prompt": "a cup", "seed": 6, "steps": 7, "width": 48, "height": 96, "solver": "dpmpp_2m"},
    {"prompt": "a cat", "seed": 7, "steps": 3, "solver": "midpoint", "true_cfg": 1.5},
    {"prompt": "two owls", "seed": 8, "steps": 4, "num_images": 3, "guidance": 1.0},
    {"prompt": "a house", "seed": 9, "steps": 2, "width": 160, "height": 160},
    {"prompt": "a pear", "seed": 10, "steps": 1},
]


@pytest.fixture(scope="module")
def alone(tiny):
    """The pictures of MIXED, each drawn with nobody else, and how many model calls that took."""
    calls = Gate()
    handle = tiny.transformer.register_forward_pre_hook(calls, with_kwargs=True)
    pictures = []
    for kind in MIXED:
        request = order(tiny, **kind).request
        for image in range(request.num_images):
            one = replace(request, num_images=1, seed=request.seed + image)
            pictures.append(tiny.draw(one).images[0])
    handle.remove()
    return pictures, calls.calls


@pytest.mark.parametrize("tokens_per_call", [16_384, 150])
def test_pictures_drawn_among_others_are_those_drawn_alone(tiny, alone, gate, tokens_per_call):
    """In two waves, the second while the first is being drawn."""
    pictures, calls_alone = alone
    orders = [order(tiny, owner=f"owner-{i % 3}", **kind) for i, kind in enumerate(MIXED * 2)]
    listeners = [Listener() for _ in orders]
    with running(tiny, tokens_per_call=tokens_per_call) as engine:
        gate.shut()
        for i in range(len(MIXED)):
            engine.submit(orders[i], listeners[i])
        gate.open()
        listeners[0].wait(Started)
        for i in range(len(MIXED), len(orders)):
            engine.submit(orders[i], listeners[i])
        ends = [
            listener.wait_for_end(each.request.num_images)
            for each, listener in zip(orders, listeners, strict=True)
        ]
        status = engine.status()
    drawn = [
        (each.request.seed + image, ended[image])
        for each, ended in zip(orders, ends, strict=True)
        for image in range(each.request.num_images)
    ]
    assert len(drawn) == 2 * len(pictures) == status.pictures
    for (seed, end), expected in zip(drawn, pictures * 2, strict=True):
        assert end.seed == seed
        assert apart(end.picture, expected) <= 1
    assert status.failures == status.waiting == status.running == 0
    if tokens_per_call > 1000:
        assert status.model_calls == gate.calls < calls_alone  # half of what both waves took alone


def test_where_torch_fills_the_cpu_networks_take_turns(tiny, monkeypatch):
    at_once, most = 0, 0

    def enters(*_):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)

    def leaves(*_):
        nonlocal at_once
        at_once -= 1

    networks = tiny.transformer, tiny.autoencoder.decoder, tiny.text.bert
    handles = [n.register_forward_pre_hook(enters) for n in networks]
    handles += [n.register_forward_hook(leaves) for n in networks]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with running(FluxPipeline(tiny.networks)) as engine:
        listeners = [Listener() for _ in range(8)]
        for k, listener in enumerate(listeners):
            engine.submit(order(tiny, f"{k} foxes", steps=6, previews=5), listener)
        assert all(isinstance(each.wait_for_end()[0], Finished) for each in listeners)
    for handle in handles:
        handle.remove()
    assert (at_once, most) == (0, 1)


def test_an_orders_events_come_in_order_with_its_previews(tiny, engine):
    asked = order(tiny, steps=10, previews=3, num_images=2)
    listener = Listener()
    engine.submit(asked, listener)
    listener.wait_for_end(2)
    kinds = [type(event) for event in listener.events]
    assert kinds[:2] == [Queued, Started]
    assert kinds.count(Queued) == kinds.count(Started) == 1
    for image in (0, 1):
        mine = [e for e in listener.events if getattr(e, "image", None) == image]
        shown = [(e.index, e.step, e.steps) for e in mine[:-1]]
        assert shown == [(0, 2, 10), (1, 5, 10), (2, 7, 10)]
        assert isinstance(mine[-1], Finished)
        assert mine[0].picture.size == (64, 64)


@pytest.mark.parametrize(("steps", "previews", "expected"), [(1, 3, []), (3, 9, [1, 2])])
def test_there_are_no_more_previews_than_steps_before_the_last(
    tiny, engine, steps, previews, expected
):
    listener = Listener()
    engine.submit(order(tiny, steps=steps, previews=previews, solver="heun"), listener)
    listener.wait_for_end()
    assert [event.step for event in listener.of(Preview)] == expected


def test_a_preview_is_what_the_pipeline_shows_at_that_step(tiny, engine):
    asked = order(tiny, steps=4, previews=1)
    listener, steps = Listener(), []
    engine.submit(asked, listener)
    listener.wait_for_end()
    tiny.draw(asked.request, lambda step: steps.append((step.step, step.preview())))
    (preview,) = listener.of(Preview)
    assert apart(preview.picture, dict(steps)[preview.step]) <= 1


@contextmanager
def seen(network, look):
    """What `look` gives before each call of a network."""
    told = []
    handle = network.register_forward_pre_hook(lambda *_: told.append(look()))
    yield told
    handle.remove()


def test_progress_is_the_share_of_the_evaluations_made(tiny, gate):
    """Of two pictures of six evaluations, one after the other, and of one that waits for them."""
    asked, waits = (order(tiny, steps=3, solver="heun", num_images=n) for n in (2, 1))
    listeners = Listener(), Listener()
    with running(tiny, max_running=1) as engine:

        def look():
            return engine.progress(asked.id), engine.progress(waits.id)

        assert look() == (None, None)
        gate.shut()
        decoder = tiny.autoencoder.decoder
        with seen(tiny.transformer, look) as at_calls, seen(decoder, look) as at_decoding:
            engine.submit(asked, listeners[0])
            engine.submit(waits, listeners[1])
            gate.open()
            listeners[0].wait_for_end(2)
            listeners[1].wait_for_end()
        assert look() == (None, None)
    assert at_calls[:12] == [(k / 12, 0.0) for k in range(12)]
    assert [share for _, share in at_calls[12:]] == [k / 6 for k in range(6)]
    assert [share for share, _ in at_decoding[1:]] == [1.0, None]
    assert at_decoding[2][1] == 1.0


def test_cancel_stops_what_is_drawn_within_one_call_and_what_waits_at_once(tiny, gate, engine):
    drawn, waits = order(tiny, steps=1000, num_images=2), order(tiny, steps=1000)
    listeners = Listener(), Listener()
    gate.shut()
    engine.submit(drawn, listeners[0])
    assert gate.reached.wait(PATIENCE)
    engine.submit(waits, listeners[1])
    assert engine.cancel(waits.id)
    assert engine.cancel(drawn.id)
    for listener, pictures in zip(listeners, (2, 1), strict=True):
        for end in listener.wait_for_end(pictures).values():
            assert isinstance(end.error, CancelledError)
    assert not listeners[1].of(Started)
    before = gate.calls
    gate.open()
    after = Listener()
    engine.submit(order(tiny, steps=2), after)
    assert isinstance(after.wait_for_end()[0], Finished)
    assert gate.calls == before + 2
    assert not engine.cancel(drawn.id)
    assert not engine.cancel("nobody")
    assert len(listeners[0].events) == 4  # Queued, Started and one Failed for each picture
    assert engine.status().failures == 0


def test_a_deadline_passes_in_the_middle_of_the_work(tiny, gate):
    with running(tiny, max_running=1) as engine:
        soon = time.monotonic() + 0.3
        drawn, waits = Listener(), Listener()
        gate.shut()
        engine.submit(order(tiny, steps=1000, deadline=soon), drawn)
        engine.submit(order(tiny, steps=1000, deadline=soon, owner="bob"), waits)
        gate.open()
        for listener in (drawn, waits):
            assert isinstance(listener.wait_for_end()[0].error, DeadlineError)
        assert not waits.of(Started)
        assert engine.status().failures == 0


def test_a_deadline_that_cannot_be_met_is_refused_at_once(tiny, gate, engine):
    with pytest.raises(DeadlineError, match=r"wanted within 0\.0 s"):
        engine.submit(order(tiny, deadline=time.monotonic() - 1), Listener())
    measured = Listener()
    engine.submit(order(tiny, steps=5), measured)
    measured.wait_for_end()
    with pytest.raises(DeadlineError, match="it should take"):
        engine.submit(order(tiny, steps=1000, deadline=time.monotonic() + 0.01), Listener())
    easy = Listener()
    engine.submit(order(tiny, deadline=time.monotonic() + 600), easy)
    assert isinstance(easy.wait_for_end()[0], Finished)


@dataclass
class Spoilt:
    """A text encoder that gives 'nothing' states that are not numbers, and fails at 'error'."""

    text: object

    def __call__(self, prompts, at_least=None):
        if "error" in prompts:
            raise RuntimeError("no such word")
        conditions = self.text(prompts, at_least)
        return [
            Conditioning(c.txt * float("nan"), c.pooled) if prompt == "nothing" else c
            for prompt, c in zip(prompts, conditions, strict=True)
        ]

    @property
    def networks(self):
        return self.text.networks

    def count(self, prompt):
        return self.text.count(prompt)


def test_a_picture_that_cannot_be_drawn_fails_alone(tiny, gate):
    spoilt = FluxPipeline(replace(tiny.networks, text=Spoilt(tiny.text)))
    prompts = ["a fox", "nothing", "a tree", "error", "a hat"]
    orders = [order(tiny, prompt, steps=4) for prompt in prompts]
    listeners = [Listener() for _ in orders]
    with running(spoilt) as engine:
        gate.shut()
        for each, listener in zip(orders, listeners, strict=True):
            engine.submit(each, listener)
        gate.open()
        ends = [listener.wait_for_end()[0] for listener in listeners]
        assert engine.status().failures == 2
    for prompt, each, end in zip(prompts, orders, ends, strict=True):
        if prompt == "nothing":
            assert isinstance(end.error, EngineError)
            assert "not finite at t = 1.000 (evaluation 1)" in str(end.error)
        elif prompt == "error":
            assert isinstance(end.error, EngineError)
            assert "no such word" not in str(end.error)  # that is for the log
        else:
            assert apart(end.picture, tiny.draw(each.request).images[0]) <= 1


@contextmanager
def failing(network, when, error):
    """Calls for which `when(rows)` is true raise `error`."""

    def hook(_network, _args, inputs):
        if when(len(inputs["img"])):
            raise error

    handle = network.register_forward_pre_hook(hook, with_kwargs=True)
    yield
    handle.remove()


def test_where_memory_does_not_hold_a_batch_each_picture_is_drawn_on_its_own(tiny, gate, engine):
    orders = [order(tiny, seed=seed, steps=3, solver="heun") for seed in range(4)]
    listeners = [Listener() for _ in orders]
    with failing(tiny.transformer, lambda rows: rows > 1, torch.OutOfMemoryError("too much")):
        gate.shut()
        engine.submit(order(tiny, steps=1), Listener())
        assert gate.reached.wait(PATIENCE)
        for each, listener in zip(orders, listeners, strict=True):
            engine.submit(each, listener)
        gate.open()
        ends = [listener.wait_for_end()[0] for listener in listeners]
    assert max(gate.rows) > 1
    for each, end in zip(orders, ends, strict=True):
        assert apart(end.picture, tiny.draw(each.request).images[0]) <= 1


def test_an_error_that_stays_is_told_after_one_retry_and_the_engine_goes_on(tiny, gate, engine):
    listener = Listener()
    with failing(tiny.transformer, lambda _rows: True, torch.OutOfMemoryError("too much")):
        engine.submit(order(tiny), listener)
        end = listener.wait_for_end()[0]
    assert isinstance(end.error, EngineError)
    assert str(end.error).startswith("out of memory while denoising 1 x 16 image tokens")
    assert gate.calls == 2
    engine.submit(order(tiny), listener)
    assert isinstance(listener.wait_for_end()[0], Finished)


def test_a_picture_that_cannot_be_decoded_fails(tiny, engine):
    listener = Listener()
    weight = tiny.autoencoder.decoder.conv_in.bias.data
    kept = weight.clone()
    weight.fill_(float("nan"))
    engine.submit(order(tiny), listener)
    end = listener.wait_for_end()[0]
    weight.copy_(kept)
    assert isinstance(end.error, EngineError)
    assert "the autoencoder returned values that are not finite" in str(end.error)


def test_a_listener_that_raises_hurts_nobody(tiny, engine, caplog):
    def bad(event):
        raise ValueError("listener")

    fine = Listener()
    with caplog.at_level(logging.ERROR, "flux1.engine"):
        engine.submit(order(tiny), bad)
        engine.submit(order(tiny, steps=9), fine)
        assert isinstance(fine.wait_for_end()[0], Finished)
    assert "a listener failed at Queued" in caplog.text


def test_a_listener_may_call_the_engine(tiny, engine):
    asked, listener = order(tiny, steps=1000), Listener()

    def cancels(event):
        listener(event)
        if isinstance(event, Started):
            assert engine.place(asked.id) is None
            assert engine.cancel(asked.id)

    engine.submit(asked, cancels)
    assert isinstance(listener.wait_for_end()[0].error, CancelledError)


def test_too_much_work_is_refused_with_a_time_to_come_again(tiny, gate):
    with running(tiny, max_running=1, max_waiting=2) as engine:
        gate.shut()
        orders = [order(tiny, steps=1000) for _ in range(3)]
        engine.submit(orders[0], Listener())
        assert gate.reached.wait(PATIENCE)
        engine.submit(orders[1], Listener())
        engine.submit(orders[2], Listener())
        with pytest.raises(OverloadedError, match="2 pictures wait already, at most 2") as refused:
            engine.submit(order(tiny), Listener())
        assert 1 <= refused.value.retry_after <= 120
        assert (engine.status().waiting, engine.status().running) == (2, 1)
        assert engine.place(orders[0].id) is None
        assert [engine.place(each.id).ahead for each in orders[1:]] == [0, 1]
        with pytest.raises(RequestError, match="is being drawn already"):
            engine.submit(orders[2], Listener())
        for each in orders:
            engine.cancel(each.id)
        gate.open()


def test_a_long_predicted_wait_is_refused_to_whoever_has_it(tiny, gate):
    with running(tiny, max_wait_seconds=1e-6) as engine:
        measured = Listener()
        engine.submit(order(tiny, steps=5), measured)
        measured.wait_for_end()
        gate.shut()
        engine.submit(order(tiny, steps=100), Listener())
        with pytest.raises(OverloadedError, match="the wait would be"):
            engine.submit(order(tiny, steps=1000), Listener())
        bob, listener = order(tiny, owner="bob", steps=2), Listener()
        engine.submit(bob, listener)
        gate.open()
        assert listener.wait(Queued).ahead == 0
        assert isinstance(listener.wait_for_end()[0], Finished)


def test_bad_orders_are_refused(tiny, engine):
    wrong = replace(order(tiny), request=replace(order(tiny).request, model="tinny"))
    with pytest.raises(UnknownModelError, match=r"'tinny' is not loaded \(did you mean 'tiny'"):
        engine.submit(wrong, Listener())
    with pytest.raises(RequestError, match="weight: 0 is not a positive number"):
        engine.submit(replace(order(tiny), weight=0), Listener())


def test_a_round_serves_one_of_several_models(tiny, gate):
    other = FluxPipeline(replace(tiny.networks, variant=replace(tiny.variant, id="other")))
    requests = [order(tiny, seed=s) for s in range(3)]
    requests += [replace(o, id=o.id + "b", request=replace(o.request, model="other"))
                 for o in requests]  # fmt: skip
    listeners = [Listener() for _ in requests]
    with running(tiny, other) as engine:
        for each, listener in zip(requests, listeners, strict=True):
            engine.submit(each, listener)
        for each, listener in zip(requests, listeners, strict=True):
            expected = tiny.draw(replace(each.request, model="tiny")).images[0]
            assert apart(listener.wait_for_end()[0].picture, expected) <= 1


def test_close_finishes_what_it_can_and_takes_nothing_new(tiny):
    engine, listener = Engine({"tiny": tiny}, {}), Listener()
    engine.submit(order(tiny, num_images=3), listener)
    engine.close(PATIENCE)
    assert len(listener.of(Finished)) == 3
    assert not engine.status().alive
    with pytest.raises(OverloadedError, match="the service is stopping"):
        engine.submit(order(tiny), Listener())
    engine.close(PATIENCE)


def test_close_cancels_what_it_cannot_finish(tiny):
    engine, listener = Engine({"tiny": tiny}, {}), Listener()
    engine.submit(order(tiny, steps=1000, num_images=3), listener)
    listener.wait(Started)
    engine.close(0.0)
    assert [str(event.error) for event in listener.of(Failed)] == ["the service is stopping"] * 3
