"""The one place where threads meet: which orders are here, whose turn it is, what was told.

Everything here is behind one lock and brief; tensors pass by, nothing is computed. Listeners are
never called from here: their events go to `outbox`, in order.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Condition
from typing import TYPE_CHECKING

from flux1.engine.scheduler import Moment, Scheduler, Turn
from flux1.errors import (
    CancelledError,
    DeadlineError,
    EngineError,
    Flux1Error,
    OverloadedError,
    RequestError,
)
from flux1.events import Failed, Finished, OrderEvent, Preview, Queued, Started
from flux1.request import Order

if TYPE_CHECKING:
    from flux1.pipeline.job import Job

Listener = Callable[[OrderEvent], None]
MAX_RETRY_AFTER = 120.0  # seconds; clients ignore more
STALE_S = 60.0  # after so long without work, a measured cost is not believed any more
SMOOTHING = 0.2  # weight of the newest measure


@dataclass(eq=False)
class Drawing:
    """One picture of an order on its way. `left` counts the evaluations still to be made (that of
    `turn` leaves out the one in the making). Its `job` belongs to whichever thread has the drawing.
    """

    order: Order
    image: int
    turn: Turn
    left: int
    job: "Job | None" = None


@dataclass
class _Ticket:
    order: Order
    listener: Listener
    open: dict[int, Drawing]
    evaluations: int
    started: bool = False


@dataclass
class Tally:
    """Everything measured since the start."""

    last_batch: int = 0
    last_call_s: float = 0.0
    pictures: int = 0
    failures: int = 0
    model_calls: int = 0
    costs: dict[str, float] = field(default_factory=dict)
    measured_at: float = 0.0
    _warm: set[str] = field(default_factory=set)

    def call(self, now: float, model: str, rows: int, tokens: int, seconds: float) -> None:
        """Note one model call. A model's first warms it up and says nothing of its cost; a call
        slowed down by something else counts for at most twice what was usual."""
        self.last_batch, self.last_call_s, self.measured_at = rows, seconds, now
        self.model_calls += 1
        if model not in self._warm:
            self._warm.add(model)
            return
        cost = seconds / tokens
        usual = self.costs.get(model, cost)
        self.costs[model] = usual + SMOOTHING * (min(cost, 2 * usual) - usual)


class Desk:
    """Takes orders in, hands drawings to the threads, and settles each picture exactly once."""

    def __init__(
        self,
        scheduler: Scheduler,
        max_waiting: int,
        max_wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.to_encode: SimpleQueue[Drawing | None] = SimpleQueue()
        self.outbox: SimpleQueue[tuple[Listener, OrderEvent] | None] = SimpleQueue()
        self.tally = Tally()
        self._scheduler = scheduler
        self._max_waiting, self._max_wait_seconds = max_waiting, max_wait_seconds
        self._clock = clock
        self._tickets: dict[str, _Ticket] = {}
        self._changed = Condition()
        self._closing = self._over = False

    def take(self, order: Order, turns: Sequence[Turn], listener: Listener) -> None:
        """Let an order's pictures wait. Raises OverloadedError, DeadlineError, or RequestError for
        an id that is here already."""
        with self._changed:
            if order.id in self._tickets:
                raise RequestError("order", f"{order.id} is being drawn already")
            moment = self._moment()
            queued = self._admissible(order, turns, moment)
            drawings = {t.image: Drawing(order, t.image, t, t.evaluations) for t in turns}
            evaluations = sum(drawing.left for drawing in drawings.values())
            self._tickets[order.id] = _Ticket(order, listener, drawings, evaluations)
            for turn in turns:
                self._scheduler.add(turn)
            self.outbox.put((listener, queued))
            self._admit(moment)
            self._changed.notify_all()

    def cancel(self, order_id: str, why: str = "the order was cancelled") -> bool:
        """Settle what is open of an order with CancelledError; False if it is not here."""
        with self._changed:
            ticket = self._tickets.get(order_id)
            for drawing in list(ticket.open.values()) if ticket else []:
                self.settle(drawing, Failed(drawing.image, CancelledError(why)))
            return ticket is not None

    def place(self, order_id: str) -> Queued | None:
        """Return where an order stands that has not begun; None if it has, or is not here."""
        with self._changed:
            ticket = self._tickets.get(order_id)
            if ticket is None or ticket.started:
                return None
            turns = [drawing.turn for drawing in ticket.open.values()]
            forecast = self._scheduler.forecast(turns, self._moment())
            return Queued(forecast.ahead, forecast.begin_s)

    def progress(self, order_id: str) -> float | None:
        """The share of an order's evaluations that are made, 0 to 1; a picture that has ended
        counts whole. None if the order is not here."""
        with self._changed:
            ticket = self._tickets.get(order_id)
            if ticket is None:
                return None
            left = sum(drawing.left for drawing in ticket.open.values())
            return (ticket.evaluations - left) / ticket.evaluations

    def load(self) -> tuple[int, int, float]:
        """Pictures that wait, pictures begun, seconds until all of them should be done."""
        with self._changed:
            pictures = sum(len(ticket.open) for ticket in self._tickets.values())
            waiting = len(self._scheduler.waiting)
            return waiting, pictures - waiting, self._scheduler.seconds(self._moment())

    def close(self, patience_s: float) -> None:
        """Take nothing new in; after `patience_s` cancel what is left."""
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: not self._tickets, patience_s)
            for order_id in list(self._tickets):
                self.cancel(order_id, "the service is stopping")
            self._over = True
            self._changed.notify_all()

    def wants(self, drawing: Drawing) -> bool:
        """Return whether anybody still waits for this picture."""
        with self._changed:
            ticket = self._tickets.get(drawing.order.id)
            return ticket is not None and ticket.open.get(drawing.image) is drawing

    def ready(self, drawing: Drawing) -> None:
        """Its job has been started: it may take part in rounds."""
        with self._changed:
            self._scheduler.ready(drawing.turn)
            self._changed.notify_all()

    def next_round(self, wait: bool = True) -> list[Drawing] | None:
        """The drawings of the next model call; None when the desk has closed. Without `wait` also
        None when no drawing is ready now."""
        with self._changed:
            while not self._over:
                moment = self._moment()
                for turn in self._scheduler.expired(moment):
                    error = DeadlineError(f"image {turn.image} could not be ready in time")
                    self.settle(self._drawing(turn), Failed(turn.image, error))
                self._admit(moment)
                if turns := self._scheduler.round(moment):
                    drawings = [self._drawing(turn) for turn in turns]
                    for drawing in drawings:
                        self._start(self._tickets[drawing.order.id])
                    return drawings
                if not wait:
                    break
                self._changed.wait(self._scheduler.until_deadline(moment))
            return None

    def evaluated(self, drawing: Drawing) -> None:
        """One more of its evaluations is made; after the last, its place in flight is free."""
        with self._changed:
            drawing.left -= 1
            if not drawing.left:
                self._scheduler.remove(drawing.turn)

    def show(self, drawing: Drawing, preview: Preview) -> None:
        """Tell of a preview, unless the picture has been settled."""
        with self._changed:
            if self.wants(drawing):
                self.outbox.put((self._tickets[drawing.order.id].listener, preview))

    def settle(self, drawing: Drawing, event: Finished | Failed) -> None:
        """Tell how a picture ended; the first word is the last."""
        with self._changed:
            if not self.wants(drawing):
                return
            ticket = self._tickets[drawing.order.id]
            del ticket.open[drawing.image]
            if not ticket.open:
                del self._tickets[drawing.order.id]
            self._scheduler.remove(drawing.turn)
            self.outbox.put((ticket.listener, event))
            self.tally.pictures += isinstance(event, Finished)
            self.tally.failures += isinstance(event, Failed) and isinstance(
                event.error, EngineError
            )
            self._changed.notify_all()

    def measured(self, drawings: Sequence[Drawing], seconds: float) -> None:
        """One model call for these took so long."""
        turns = [drawing.turn for drawing in drawings]
        rows, tokens = sum(turn.rows for turn in turns), sum(turn.tokens for turn in turns)
        with self._changed:
            self.tally.call(self._clock(), turns[0].model, rows, tokens, seconds)

    def _moment(self) -> Moment:
        return Moment(self._clock(), self.tally.costs)

    def _drawing(self, turn: Turn) -> Drawing:
        return self._tickets[turn.order].open[turn.image]

    def _admit(self, moment: Moment) -> None:
        for turn in self._scheduler.admit(moment):
            self.to_encode.put(self._drawing(turn))

    def _start(self, ticket: _Ticket) -> None:
        if not ticket.started:
            ticket.started = True
            self.outbox.put((ticket.listener, Started()))

    def _admissible(self, order: Order, turns: Sequence[Turn], moment: Moment) -> Queued:
        """Return where the order would stand; raises if it cannot be done in time."""
        if self._closing:
            raise OverloadedError("the service is stopping; try again soon", 5.0)
        if not self._tickets and moment.now - self.tally.measured_at > STALE_S:
            self.tally.costs.clear()
        forecast = self._scheduler.forecast(turns, moment)
        if order.promised:
            return Queued(forecast.ahead, forecast.begin_s)
        waiting = len(self._scheduler.waiting)
        if waiting + len(turns) > self._max_waiting:
            raise _overloaded(
                f"{waiting} pictures wait already, at most {self._max_waiting} may",
                self._scheduler.seconds(moment) * len(turns) / max(1, waiting),
            )
        if forecast.begin_s > self._max_wait_seconds:
            raise _overloaded(
                f"the wait would be {forecast.begin_s:.0f} s, more than "
                f"{self._max_wait_seconds:.0f} s",
                forecast.begin_s - self._max_wait_seconds,
            )
        if order.deadline is not None and moment.now + forecast.end_s >= order.deadline:
            left = max(0.0, order.deadline - moment.now)
            raise DeadlineError(
                f"it should take {forecast.end_s:.1f} s, wanted within {left:.1f} s"
            )
        return Queued(forecast.ahead, forecast.begin_s)


def _overloaded(message: str, seconds: float) -> Flux1Error:
    return OverloadedError(message, min(MAX_RETRY_AFTER, max(1.0, seconds)))
