"""The log: structured lines with the request's id, on stderr, no more than a disk can take."""

import logging
import sys
import time
from dataclasses import dataclass
from typing import Any

import structlog

PERIOD_S = 10.0
LINES, TRACEBACKS = 200, 5  # of one kind in each period


@dataclass
class _Kind:
    """A count of one kind of log line since its period began: those written and those left out."""

    began: float
    came: int = 0
    left_out: int = 0


class Thinned(logging.Filter):
    """Lets a bounded number of lines of a kind through in each period; the next one that passes
    says how many were left out. Whoever can make the server say something can make it say it
    again."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[Any, _Kind] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        told = record.msg if isinstance(record.msg, dict) else {"event": str(record.msg)}
        kind = self._kind((record.name, told.get("event"), told.get("status")))
        kind.came += 1
        at_length = record.exc_info or told.get("exc_info")
        if kind.came > (TRACEBACKS if at_length else LINES):
            kind.left_out += 1
            return False
        if kind.left_out:
            _mention(record, kind.left_out)
            kind.left_out = 0
        return True

    def _kind(self, key: Any) -> _Kind:
        now = time.monotonic()
        if len(self._kinds) > 1_000:
            self._kinds.clear()
        kind = self._kinds.setdefault(key, _Kind(now))
        if now - kind.began > PERIOD_S:
            kind.began, kind.came = now, 0
        return kind


def _mention(record: logging.LogRecord, left_out: int) -> None:
    if isinstance(record.msg, dict):
        record.msg = {**record.msg, "left_out": left_out}
    else:
        record.msg = f"{record.getMessage()} ({left_out} lines like this were left out)"
        record.args = ()


def log_to_stderr(as_json: bool) -> None:
    """Send structured lines to stderr; the standard library's loggers join them."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: Any = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    if as_json:
        last = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Thinned())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                last,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("flux1").setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
