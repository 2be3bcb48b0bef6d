"""Ports to the packages that the server must not import. `cli/serve.py` joins them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from flux1.events import EngineStatus, OrderEvent, Queued
from flux1.request import ImageRequest, Order, Origin
from flux1.variants import Variant


@dataclass(frozen=True)
class Model:
    """A loaded model as the server speaks of it. `origin` is its pictures': their weights, and
    where they are computed. `names` are all that a request may call it; `count_tokens` says how
    many tokens its text encoder reads of a prompt, `notes` what a person should know of a request,
    a line each (it may take a second; thread-safe)."""

    variant: Variant
    origin: Origin
    names: tuple[str, ...]
    created: int
    count_tokens: Callable[[str], int]
    notes: Callable[[ImageRequest], tuple[str, ...]]


class Engine(Protocol):
    """The port to whatever makes pictures. Thread-safe; events come from the engine's own
    threads."""

    models: Mapping[str, Model]

    def submit(self, order: Order, listener: Callable[[OrderEvent], None]) -> None:
        """Take an order in; `listener` is called with each of its events, in order, until every
        picture is Finished or Failed. OverloadedError if it cannot be done in time or memory is
        short; RequestError for a size that never fits."""
        ...

    def cancel(self, order_id: str) -> bool:
        """Stop an order within one step: its open pictures come back as Failed(CancelledError).
        False if there is no such order any more."""
        ...

    def place(self, order_id: str) -> Queued | None:
        """Return where a waiting order stands; None if it runs or is not here."""
        ...

    def progress(self, order_id: str) -> float | None:
        """The share of an order's model evaluations that are made, 0 to 1; it never falls. None if
        the order is not here, or not any more."""
        ...

    def status(self) -> EngineStatus: ...

    def close(self, patience_s: float) -> None:
        """Take nothing new in, finish what can be finished in that time, cancel the rest."""
        ...
