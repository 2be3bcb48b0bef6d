"""An engine whose networks come and go: flights of pictures, each network once for all of them."""

from dataclasses import replace
from queue import Queue

import numpy as np
import pytest

from flux1 import FluxPipeline
from flux1.engine.engine import Engine, EngineSettings
from flux1.errors import RequestError
from flux1.events import Failed, Finished, Preview
from flux1.pipeline.load import load
from flux1.pipeline.plan import OFFLOADS
from flux1.pipeline.staged import Staged
from flux1.request import Order, make_request
from synthetic import make_diffusers_folder

PATIENCE = 60.0  # seconds; only a failing test waits so long
SEEN = {"steps": 3, "width": 64, "height": 48}


class Counted(Staged):
    """Plans one kind of offload, and notes which networks come."""

    offload = OFFLOADS[0]

    def _plan(self, requests):
        found = super()._plan(requests)
        return replace(found, placement=replace(found.placement, offload=self.offload))

    def _ask(self, name, load):
        if name not in self._inside:
            self.came.append(name)
        return super()._ask(name, load)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_diffusers_folder(tmp_path_factory.mktemp("models") / "flux-dev")


@pytest.fixture(scope="module")
def plain(folder):
    return FluxPipeline.from_pretrained(folder)


@pytest.fixture
def staged(folder, request):
    networks = load(folder, memory="8GB")
    networks.__class__ = Counted
    networks.came = []
    return networks


def apart(picture, other):
    """The largest difference, in levels of 255."""
    return np.abs(np.asarray(picture).astype(int) - np.asarray(other).astype(int)).max()


def events_of(engine, orders):
    """Each order's events, until all have ended."""
    queues = [Queue() for _ in orders]
    for order, queue in zip(orders, queues, strict=True):
        engine.submit(order, queue.put)
    return [list(iter_ends(q, o.request.num_images)) for q, o in zip(queues, orders, strict=True)]


def iter_ends(queue, pictures):
    while pictures:
        event = queue.get(timeout=PATIENCE)
        pictures -= isinstance(event, Finished | Failed)
        yield event


@pytest.mark.parametrize("offload", OFFLOADS)
def test_pictures_are_those_of_all_networks_at_once(staged, plain, offload):
    staged.offload = offload
    requests = [
        make_request(plain.variant, f"{n} foxes", seed=n, num_images=2, true_cfg=1.0 + n, **SEEN)
        for n in range(3)
    ]
    orders = [Order(str(n), request, "ann", previews=1) for n, request in enumerate(requests)]
    engine = Engine({"flux-dev": FluxPipeline(staged)}, {}, EngineSettings(), lambda _: None)
    for events, request in zip(events_of(engine, orders), requests, strict=True):
        ends = [event for event in events if isinstance(event, Finished)]
        assert len(ends) == 2
        assert sum(isinstance(event, Preview) for event in events) == 2
        for end in ends:
            one = replace(request, num_images=1, seed=end.seed)
            assert apart(end.picture, plain.draw(one).images[0]) <= 1
    engine.close(PATIENCE)


def test_each_network_comes_once_for_a_flight(staged, plain):
    staged.offload = "all"
    engine = Engine({"flux-dev": FluxPipeline(staged)}, {}, EngineSettings(), lambda _: None)
    request = make_request(plain.variant, "a fox", seed=1, num_images=4, **SEEN)
    events_of(engine, [Order("1", request, "ann", previews=1)])
    engine.close(PATIENCE)
    assert staged.came == ["text", "transformer", "autoencoder"]


def test_what_never_fits_is_refused_before_it_waits(folder, plain):
    engine = Engine(
        {"flux-dev": FluxPipeline.from_pretrained(folder, memory="10MB")}, {}, memory=lambda _: None
    )
    request = make_request(plain.variant, "a fox", seed=1, **SEEN)
    with pytest.raises(RequestError, match=r"64x48 does not fit: memory: 10 MB .* the least"):
        engine.submit(Order("1", request, "ann"), print)
    engine.close(0.0)


def test_tokens_are_counted_without_the_text_encoder(staged, plain):
    staged.offload = "all"
    assert staged.count_tokens("a red fox") == plain.text.count("a red fox")
    assert staged.transformer is not None  # it sends the text encoder away
    staged.came.clear()
    assert staged.count_tokens("another fox") == plain.text.count("another fox")
    assert staged.came == []
