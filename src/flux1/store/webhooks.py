"""Webhook messages that wait, and a log of each attempt: retries survive a restart."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Select, func, select

from flux1.store.database import Database, new_id
from flux1.store.tables import ATTEMPTS, DELIVERIES, JOBS


@dataclass(frozen=True)
class Attempt:
    """One try: the receiver's HTTP status, or the error that kept it from answering."""

    number: int
    time: datetime
    status_code: int | None
    error: str | None


@dataclass(frozen=True)
class Delivery:
    """A message to a request's webhook. `next_attempt` None: it arrived, or was given up."""

    id: str
    job_id: str
    account_id: str
    url: str
    payload: str
    created: datetime
    next_attempt: datetime | None
    log: tuple[Attempt, ...]

    @property
    def host(self) -> str:
        """Who is called."""
        return urlsplit(self.url).netloc.lower()

    @property
    def attempts(self) -> int:
        return len(self.log)


_DELIVERIES = select(DELIVERIES, JOBS.c.account_id).join_from(DELIVERIES, JOBS)


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

    def due(
        self,
        now: datetime,
        limit: int,
        of_each: int | None = None,
        without_accounts: Collection[str] = (),
        without: Collection[str] = (),
    ) -> list[Delivery]:
        """Those to be tried by `now`: of each account the longest due first, at most `of_each`,
        and everybody's first one before anybody's second."""
        place = func.row_number().over(
            partition_by=JOBS.c.account_id, order_by=(DELIVERIES.c.next_attempt, DELIVERIES.c.id)
        )
        waiting = (
            _DELIVERIES.add_columns(place.label("place"))
            .where(DELIVERIES.c.next_attempt <= now, DELIVERIES.c.id.not_in(list(without)))
            .where(JOBS.c.account_id.not_in(list(without_accounts)))
            .subquery()
        )
        query = select(*(column for column in waiting.c if column.name != "place"))
        query = query.where(waiting.c.place <= (of_each or limit))
        query = query.order_by(waiting.c.place, waiting.c.next_attempt).limit(limit)
        return self._deliveries(query)

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
            # one that was given up meanwhile, since its request was erased, stays so
            waits = (DELIVERIES.c.id == id, DELIVERIES.c.next_attempt.is_not(None))
            connection.execute(DELIVERIES.update().where(*waits).values(next_attempt=next_attempt))

    def for_request(self, job_id: str) -> list[Delivery]:
        """All of a request, oldest first."""
        query = _DELIVERIES.where(DELIVERIES.c.job_id == job_id)
        return self._deliveries(query.order_by(DELIVERIES.c.created, DELIVERIES.c.id))

    def _deliveries(self, query: Select[Any]) -> list[Delivery]:
        rows = self._database.all(query)
        of_these = ATTEMPTS.c.delivery_id.in_([row["id"] for row in rows])
        log: dict[str, list[Attempt]] = defaultdict(list)
        for row in self._database.all(select(ATTEMPTS).where(of_these).order_by(ATTEMPTS.c.number)):
            made = {name: value for name, value in row.items() if name != "delivery_id"}
            log[row["delivery_id"]].append(Attempt(**made))
        return [Delivery(**row, log=tuple(log[row["id"]])) for row in rows]
