"""Webhook messages that wait, and a log of each attempt: retries survive a restart."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select

from flux1.store.database import Database, new_id
from flux1.store.tables import ATTEMPTS, DELIVERIES


@dataclass(frozen=True)
class Attempt:
    """One try: the receiver's HTTP status, or the error that kept it from answering."""

    number: int
    time: datetime
    status_code: int | None
    error: str | None


@dataclass(frozen=True)
class Delivery:
    """A message to a job's webhook. `next_attempt` None: it arrived, or was given up."""

    id: str
    job_id: str
    url: str
    payload: str
    created: datetime
    next_attempt: datetime | None
    log: tuple[Attempt, ...]

    @property
    def attempts(self) -> int:
        return len(self.log)


class Deliveries:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, job_id: str, url: str, payload: str) -> str:
        """Keep a message, due at once; its id. `payload` is the body, kept as it is signed."""
        id, now = new_id("msg"), self._database.now()
        row = {"id": id, "job_id": job_id, "url": url, "payload": payload, "created": now}
        with self._database.begin() as connection:
            connection.execute(DELIVERIES.insert().values(row | {"next_attempt": now}))
        return id

    def due(self, now: datetime, limit: int) -> list[Delivery]:
        """Those to be tried by `now`, longest due first."""
        query = select(DELIVERIES).where(DELIVERIES.c.next_attempt <= now)
        return self._deliveries(query.order_by(DELIVERIES.c.next_attempt).limit(limit))

    def record(
        self, id: str, status_code: int | None, error: str | None, next_attempt: datetime | None
    ) -> None:
        """Log an attempt that was made now, and when to try again: None is never."""
        with self._database.begin(lock=id) as connection:
            of_this = ATTEMPTS.c.delivery_id == id
            made = connection.scalar(select(func.count()).select_from(ATTEMPTS).where(of_this))
            attempt = {
                "delivery_id": id,
                "number": (made or 0) + 1,
                "time": self._database.now(),
                "status_code": status_code,
                "error": error,
            }
            connection.execute(ATTEMPTS.insert().values(attempt))
            # one that was given up meanwhile, since its job was erased, stays so
            waits = (DELIVERIES.c.id == id, DELIVERIES.c.next_attempt.is_not(None))
            connection.execute(DELIVERIES.update().where(*waits).values(next_attempt=next_attempt))

    def for_job(self, job_id: str) -> list[Delivery]:
        """All of a job, oldest first."""
        query = select(DELIVERIES).where(DELIVERIES.c.job_id == job_id)
        return self._deliveries(query.order_by(DELIVERIES.c.created, DELIVERIES.c.id))

    def _deliveries(self, query: Select[Any]) -> list[Delivery]:
        rows = self._database.all(query)
        of_these = ATTEMPTS.c.delivery_id.in_([row["id"] for row in rows])
        log: dict[str, list[Attempt]] = defaultdict(list)
        for row in self._database.all(select(ATTEMPTS).where(of_these).order_by(ATTEMPTS.c.number)):
            made = {name: value for name, value in row.items() if name != "delivery_id"}
            log[row["delivery_id"]].append(Attempt(**made))
        return [Delivery(**row, log=tuple(log[row["id"]])) for row in rows]
