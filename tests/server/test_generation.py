"""The desk between wire formats and the engine, without HTTP."""

import asyncio
import threading
from dataclasses import replace

from flux1.request import make_request
from flux1.safety.pictures import PicturePolicy
from flux1.server.arrival import Arrival
from flux1.server.ask import Ask, Output
from flux1.server.auth import Caller
from flux1.server.generation import Generation
from flux1.server.limits import Limits
from flux1.server.metrics import Metrics
from instant import InstantEngine
from service import PASSWORD

PATIENCE = 60.0  # seconds; only a failing test waits so long


class Held:
    """A classifier that says nothing until it may."""

    def __init__(self):
        self.may = threading.Event()

    def scores(self, picture):
        assert self.may.wait(PATIENCE)
        return {}


class Watched(InstantEngine):
    """Looks at something when an order comes in."""

    def submit(self, order, listener):
        self.seen = self.look(order.id)
        super().submit(order, listener)


def test_progress_is_known_from_before_the_engine_has_it_until_its_files_are_kept(parts):
    (model,) = parts.engine.models.values()
    account = parts.store.accounts.register("ada@example.com", PASSWORD)
    caller = Caller(account, None, Limits.of(parts.settings, None))
    ask = Ask(model, "tiny", make_request(model.variant, "a fox"), Output(), 2)
    engine, held = Watched(parts.engine.models), Held()
    joined = replace(parts, engine=engine, pictures=PicturePolicy(held))

    async def drawn():
        generation = Generation(joined, Metrics(engine), lambda: None)
        engine.look = generation.progress
        opened = await generation.accept(ask, caller, Arrival("bfl", "request"))
        assert engine.seen == 0.0
        assert engine.progress(opened.stored.id) is None  # it has drawn, and knows it no more
        assert generation.progress(opened.stored.id) == 1.0
        held.may.set()
        ended = await asyncio.wait_for(opened.ended, PATIENCE)
        assert ended.error is None
        assert generation.progress(opened.stored.id) is None

    asyncio.run(drawn())
