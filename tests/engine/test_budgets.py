"""What memory does not hold is refused or waits. The devices' figures are the tests' own; threads,
networks and pictures are real."""

import copy
import re
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import Queue

import numpy as np
import pytest
import torch

from flux1 import FluxPipeline
from flux1.engine.budgets import RETRY_S, SHARE, Budget, Budgets
from flux1.engine.engine import Engine, EngineSettings
from flux1.errors import OverloadedError, RequestError
from flux1.events import Failed, Finished
from flux1.model.stored import StoredLinear
from flux1.pipeline.footprint import call_bytes, decode_bytes, picture_bytes
from flux1.pipeline.memory import Memory
from flux1.request import Order, make_request
from flux1.variants import TINY
from flux1.weights.numbers.quantize import quantize_layers

PATIENCE = 60.0  # seconds; only a failing test waits so long
LARGE = 2**40
FP32 = torch.float32
ROW = call_bytes(TINY.transformer, FP32, 16 + TINY.text.max_tokens)  # of a picture of 64x64


@dataclass
class Device:
    """A device whose figures a test sets."""

    free: int = LARGE
    total: int = LARGE

    def __call__(self, _device=None):
        return Memory(self.free, self.total)


def leaving(size):
    """The free memory of which so many bytes may be planned with."""
    return int(size / SHARE) + 1


@pytest.fixture
def device():
    return Device()


@pytest.fixture
def engine(tiny, device):
    engine = Engine({"tiny": tiny}, {}, EngineSettings(), device)
    yield engine
    engine.close(0.0)


def order(number=0, promised=False, **fields):
    request = make_request(TINY, "a fox", **{"seed": 7, "steps": 2} | fields)
    return Order(f"order-{number}", request, "ann", promised=promised)


def submit(engine, asked):
    """The order's ends, as they come."""
    ends = Queue()
    engine.submit(asked, lambda event: isinstance(event, Finished | Failed) and ends.put(event))
    return ends


def apart(picture, other):
    """The largest difference, in levels of 255."""
    return np.abs(np.asarray(picture).astype(int) - np.asarray(other).astype(int)).max()


# --- a budget -------------------------------------------------------------------------------------


class Asked(Device):
    """Tells when a thread has asked it: that thread is in the room, or waits for its place."""

    def __call__(self, _device=None):
        self.asked.set()
        return super().__call__()


@pytest.fixture
def asked():
    device = Asked(free=leaving(100))
    device.asked = threading.Event()
    return device


def test_what_does_not_fit_beside_others_waits_for_them(asked):
    budget = Budget(asked, held=0)

    def enter():
        with budget.take(41):
            pass

    with ThreadPoolExecutor(1) as pool, budget.take(40):
        with budget.take(20):
            asked.asked.clear()
            waits = pool.submit(enter)
            assert asked.asked.wait(PATIENCE)
            assert not wait([waits], timeout=0.1).done
        waits.result(PATIENCE)  # it fits beside the other


def test_a_stage_that_is_alone_runs_though_the_reading_says_no():
    """A reading may be of a bad moment; the allocator knows."""
    budget = Budget(Device(free=leaving(100)), held=0)
    with budget.take(101):
        assert budget.soon() == int(SHARE * (leaving(100) + 101))


def test_who_asked_first_is_not_overtaken_by_what_would_fit(asked):
    budget, entered = Budget(asked, held=0), []

    def enter(size):
        with budget.take(size):
            entered.append(size)

    with ThreadPoolExecutor(2) as pool:
        with budget.take(50):
            asked.asked.clear()
            large = pool.submit(enter, 90)
            assert asked.asked.wait(PATIENCE)
            small = pool.submit(enter, 10)
            assert not wait([small], timeout=0.1).done
        for one in (large, small):
            one.result(PATIENCE)
    assert entered == [90, 10]


def test_readings_are_of_the_moment():
    device = Device(free=leaving(1000))
    budget = Budget(device, held=0)
    assert budget.now() == budget.soon() == 1000
    with budget.take(600):
        device.free -= 600  # all of it is used by now
        assert budget.now() == int(SHARE * device.free)
        assert budget.soon() == 1000
    device.free = 100
    assert budget.now() == 90
    device.free = leaving(1000)
    assert budget.now() == 1000


# --- an engine ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(512, 512), (1024, 256), (240, 1280)])
def test_a_size_that_never_fits_is_refused_with_the_largest_that_does(
    tiny, engine, device, width, height
):
    weights = sum(
        p.nbytes
        for network in (tiny.transformer, tiny.autoencoder, tiny.text.bert)
        for p in (*network.parameters(), *network.buffers())
    )
    device.total = weights + leaving(picture_bytes(TINY, FP32, 200_000))
    with pytest.raises(RequestError) as refused:
        engine.submit(order(width=width, height=height), print)
    assert refused.value.field == "size"
    shown = re.fullmatch(
        rf"size: {width}x{height} takes ([\d.]+) MiB of memory, this device has ([\d.]+) MiB "
        r"beside the models; nearest: (\d+)x(\d+)",
        str(refused.value),
    )
    needs, there = (float(number) * 2**20 for number in shown.groups()[:2])
    assert needs == pytest.approx(picture_bytes(TINY, FP32, width * height), rel=0.01)
    assert there == pytest.approx(picture_bytes(TINY, FP32, 200_000), rel=0.01)
    near = tuple(map(int, shown.groups()[2:]))
    assert near[0] * near[1] <= 200_000 < (near[0] + 16) * (near[1] + 16)
    assert near[0] / near[1] == pytest.approx(width / height, rel=0.1)
    asked = order(1, width=near[0], height=near[1], steps=1)
    assert isinstance(submit(engine, asked).get(timeout=PATIENCE), Finished)


def test_where_no_size_fits_that_is_said(engine, device):
    device.total = 1
    with pytest.raises(RequestError, match="no size fits"):
        engine.submit(order(), print)


def test_what_does_not_fit_at_the_moment_may_come_again(tiny, engine, device):
    device.free = 2**20
    with pytest.raises(OverloadedError, match=r"128x128 takes 3\.5 MiB .* 0\.9 MiB are") as refused:
        engine.submit(order(width=128, height=128), print)
    assert refused.value.retry_after == RETRY_S
    device.free = leaving(picture_bytes(TINY, FP32, 128**2))
    end = submit(engine, order(width=128, height=128)).get(timeout=PATIENCE)
    assert isinstance(end, Finished)


def test_what_was_promised_is_drawn_though_memory_seems_short(engine, device):
    device.free = 1000
    end = submit(engine, order(promised=True)).get(timeout=PATIENCE)
    assert isinstance(end, Finished)


def test_a_call_has_no_more_rows_than_memory_holds(tiny, engine, device, monkeypatch):
    """Three orders of two pictures with two rows each, in room for five rows."""
    seen = []
    hook = tiny.transformer.register_forward_pre_hook(
        lambda _network, _args, inputs: seen.append(len(inputs["img"])), with_kwargs=True
    )
    device.free = leaving(5 * ROW)
    assert device.free * SHARE > decode_bytes(TINY.autoencoder, FP32, 64**2)
    orders = [order(n, seed=n, num_images=2, true_cfg=3.0, steps=6) for n in range(3)]
    ends = [submit(engine, asked) for asked in orders]
    drawn = [[queue.get(timeout=PATIENCE) for _ in range(2)] for queue in ends]
    hook.remove()
    assert max(seen) == 5
    assert engine.status().failures == 0
    for asked, pictures in zip(orders, drawn, strict=True):
        for end in pictures:
            one = replace(asked.request, num_images=1, seed=end.seed)
            assert apart(end.picture, tiny.draw(one).images[0]) <= 1


@contextmanager
def held_until(event, network, meanwhile):
    """Its calls tell `meanwhile` and wait for an event."""

    def hook(*_):
        meanwhile.set()
        assert event.wait(PATIENCE)

    handle = network.register_forward_pre_hook(hook)
    yield
    handle.remove()


def test_stages_that_memory_holds_together_run_together(tiny, engine, device, monkeypatch):
    """One picture is decoded until the next one's model call has begun."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # else they take turns
    engine = Engine({"tiny": tiny}, {}, EngineSettings(max_running=1), device)
    device.free = leaving(ROW + decode_bytes(TINY.autoencoder, FP32, 64**2))
    begun, decoding = threading.Event(), threading.Event()
    with held_until(begun, tiny.autoencoder.decoder, decoding):
        ends = submit(engine, order(steps=1))
        assert decoding.wait(PATIENCE)
        handle = tiny.transformer.register_forward_pre_hook(lambda *_: begun.set())
        others = submit(engine, order(1, steps=1))
        assert isinstance(ends.get(timeout=PATIENCE), Finished)
        assert isinstance(others.get(timeout=PATIENCE), Finished)
        handle.remove()
    engine.close(0.0)


def test_stages_that_memory_does_not_hold_together_never_run_together(tiny, device, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # else they take turns anyway
    at_once, most, lock = 0, 0, threading.Lock()

    def enters(*_):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)

    def leaves(*_):
        nonlocal at_once
        with lock:
            at_once -= 1

    networks = tiny.transformer, tiny.autoencoder.decoder
    handles = [n.register_forward_pre_hook(enters) for n in networks]
    handles += [n.register_forward_hook(leaves) for n in networks]
    device.free = leaving(decode_bytes(TINY.autoencoder, FP32, 64**2) + ROW - 1)
    engine = Engine({"tiny": tiny}, {}, EngineSettings(), device)
    ends = [submit(engine, order(n, seed=n, steps=8, num_images=4)) for n in range(3)]
    drawn = [queue.get(timeout=PATIENCE) for queue in ends for _ in range(4)]
    engine.close(0.0)
    for handle in handles:
        handle.remove()
    assert all(isinstance(end, Finished) for end in drawn)
    assert (at_once, most) == (0, 1)


def test_the_status_tells_what_is_free(tiny, device, engine):
    device.free = 12_345
    assert engine.status().memory_free == 12_345
    unknown = Engine({"tiny": tiny}, {}, memory=lambda _device: None)
    assert unknown.status().memory_free is None
    end = submit(unknown, order(width=512, height=512, steps=1)).get(timeout=PATIENCE)
    assert isinstance(end, Finished)
    unknown.close(0.0)


def test_quantised_weights_are_counted_as_they_are_kept(tiny, device):
    whole = Budgets({"tiny": tiny}, device)._devices[tiny.device].most()
    transformer = copy.deepcopy(tiny.transformer)
    before = sum(w.nbytes for w in transformer.parameters())
    quantize_layers(transformer, "int8")
    after = sum(w.nbytes for w in transformer.parameters()) + sum(
        layer.matrix.nbytes for layer in transformer.modules() if isinstance(layer, StoredLinear)
    )
    assert after < before / 2
    narrow = FluxPipeline(replace(tiny.networks, transformer=transformer))
    less = Budgets({"tiny": narrow}, device)._devices[tiny.device].most()
    assert (less - whole) / SHARE == pytest.approx(before - after, abs=2)
