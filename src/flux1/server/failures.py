"""A failure as its row remembers it: what is written there, and what is read back."""

from flux1.errors import (
    BlockedError,
    CancelledError,
    DeadlineError,
    EngineError,
    Flux1Error,
    OutputError,
    OverloadedError,
    StoreError,
)
from flux1.store.requests import FailedStatus, StoredRequest

_PASSING = (OverloadedError, EngineError, StoreError, CancelledError, DeadlineError)


def status_of(error: Flux1Error) -> FailedStatus:
    if isinstance(error, BlockedError):
        return "blocked"
    return "cancelled" if isinstance(error, CancelledError) else "failed"


STORE_AWAY = "the server cannot reach what it keeps its data in; its log says why"


def message_of(error: Flux1Error) -> str:
    """Return what strangers may read of it: a store's own words may hold paths, addresses and
    names."""
    return STORE_AWAY if isinstance(error, StoreError) else str(error)


def may_repeat(error: Flux1Error) -> bool:
    """Return whether the same request could succeed another time."""
    return isinstance(error, _PASSING)


def error_of(stored: StoredRequest) -> Flux1Error | None:
    """The failure that a row remembers."""
    if stored.status == "succeeded":
        return None
    message = stored.error_message or f"the request ended as {stored.status}"
    if stored.status == "blocked":
        looked = [verdict for verdict in stored.safety.values() if isinstance(verdict, dict)]
        categories = {name for verdict in looked for name in verdict.get("blocked", [])}
        stage = "prompt" if stored.safety.get("prompt", {}).get("blocked") else "output"
        return BlockedError(message, tuple(sorted(categories)), stage)
    if stored.status == "cancelled":
        return CancelledError(message)
    if stored.error_code == OutputError.code:
        return OutputError(message)
    failure = EngineError(message)
    failure.code = stored.error_code or failure.code
    return failure
