"""Usage: the pictures drawn per account, key and day (UTC). Failed requests are not counted."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, RowMapping, func, literal, select, tuple_

from flux1.store.database import Database
from flux1.store.tables import ACCOUNTS, JOBS, KEYS, USAGE

_PAGE = 500
_TOTALS = (
    func.coalesce(func.sum(USAGE.c.images), 0).label("images"),
    func.coalesce(func.sum(USAGE.c.pixels), 0).label("pixels"),
    func.count().label("requests"),
)
_PLACE = (USAGE.c.finished, USAGE.c.job_id)
_EXPORTED = (
    JOBS.c.request_id,
    JOBS.c.api,
    JOBS.c.model,
    ACCOUNTS.c.email,
    USAGE.c.key_id,
    KEYS.c.name.label("key_name"),
)


@dataclass(frozen=True)
class UsageTotal:
    """A megapixel is 1 000 000 pixels."""

    images: int
    megapixels: float
    requests: int


class DayUsage(NamedTuple):
    date: date
    images: int
    megapixels: float
    requests: int


class KeyUsage(NamedTuple):
    """`key_id` and `name` are None for what was drawn without a key, in the dashboard."""

    key_id: str | None
    name: str | None
    images: int
    megapixels: float
    requests: int


class Usage:
    """Sums of what was drawn. Where `account_id` or `key_id` is None, all of them count."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def today(self, account_id: str | None = None, key_id: str | None = None) -> UsageTotal:
        query = select(*_TOTALS).where(*_whose(account_id, key_id))
        (row,) = self._database.all(query.where(USAGE.c.day == self._database.now().date()))
        return UsageTotal(*_numbers(row))

    def by_day(
        self, account_id: str | None, days: int, key_id: str | None = None
    ) -> list[DayUsage]:
        """The last `days` days, today included and last; days without use are there, with 0."""
        today = self._database.now().date()
        dates = [today - timedelta(days=back) for back in reversed(range(days))]
        query = select(USAGE.c.day, *_TOTALS).where(*_whose(account_id, key_id))
        query = query.where(USAGE.c.day.between(dates[0], today)).group_by(USAGE.c.day)
        used = {row["day"]: _numbers(row) for row in self._database.all(query)}
        return [DayUsage(day, *used.get(day, (0, 0.0, 0))) for day in dates]

    def by_key(self, account_id: str, days: int) -> list[KeyUsage]:
        """Each key that was used in the last `days` days, the busiest first."""
        since = self._database.now().date() - timedelta(days=days - 1)
        query = (
            select(USAGE.c.key_id, KEYS.c.name, *_TOTALS)
            .join_from(USAGE, KEYS, isouter=True)
            .where(USAGE.c.account_id == account_id, USAGE.c.day >= since)
            .group_by(USAGE.c.key_id, KEYS.c.name)
            .order_by(func.sum(USAGE.c.images).desc(), USAGE.c.key_id)
        )
        rows = self._database.all(query)
        return [KeyUsage(row["key_id"], row["name"], *_numbers(row)) for row in rows]

    def export(self, account_id: str | None, since: date, until: date) -> Iterator[dict[str, Any]]:
        """Each request that was counted from the day `since` to the day `until`, oldest first.

        Read page by page: no transaction is open while a slow client takes them.
        """
        query = select(*_PLACE, *_EXPORTED, USAGE.c.images, USAGE.c.pixels)
        query = query.join_from(USAGE, JOBS).join(ACCOUNTS, ACCOUNTS.c.id == USAGE.c.account_id)
        query = query.outerjoin(KEYS, KEYS.c.id == USAGE.c.key_id).where(*_whose(account_id, None))
        query = query.where(USAGE.c.day.between(since, until))
        query = query.order_by(*_PLACE).limit(_PAGE)
        rows = self._database.all(query)
        while rows:
            for row in rows:
                words = {column.key: row[column.key] for column in _EXPORTED}
                yield {
                    "time": row["finished"].isoformat(),
                    "job_id": row["job_id"],
                    **words,
                    "images": row["images"],
                    "megapixels": row["pixels"] / 1e6,
                }
            last = tuple_(*(literal(rows[-1][c.key], c.type) for c in _PLACE))
            rows = self._database.all(query.where(tuple_(*_PLACE) > last))


def _whose(account_id: str | None, key_id: str | None) -> list[ColumnElement[bool]]:
    asked = ((USAGE.c.account_id, account_id), (USAGE.c.key_id, key_id))
    return [column == value for column, value in asked if value is not None]


def _numbers(row: RowMapping) -> tuple[int, float, int]:
    """Images, megapixels, requests; PostgreSQL sums into a Decimal."""
    return int(row["images"]), int(row["pixels"]) / 1e6, row["requests"]
