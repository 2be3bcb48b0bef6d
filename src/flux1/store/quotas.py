"""Quotas on what may be open at once and drawn in a day, counted in the transaction that reserves
it.

What is open counts whole: its pictures are used as soon as they are asked for, and given back if
they do not come. So no race, and no second process, draws one picture more than is allowed.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from flux1.errors import QuotaError
from flux1.store.tables import JOBS, USAGE

OPEN = ("queued", "running")


@dataclass(frozen=True)
class Quota:
    """The amount that an account (`key_id` None), or one key of it, may have open at once and
    use in a day of UTC. A megapixel is 1 000 000 pixels."""

    key_id: str | None
    requests: int
    images: int
    megapixels: float


@dataclass(frozen=True)
class _Count:
    requests: int
    images: int
    pixels: int


def check_quota(
    connection: Connection, quota: Quota, account_id: str, images: int, pixels: int, now: datetime
) -> None:
    """QuotaError if one more request of these pictures is more than the quota allows."""
    there, drawn = _open(connection, quota, account_id), _drawn(connection, quota, account_id, now)
    if there.requests >= quota.requests:
        raise QuotaError(
            f"{quota.requests} requests may be open at once; wait for one to end",
            "concurrency_limit_exceeded",
            retry_after=1,
        )
    if there.images + drawn.images + images > quota.images:
        raise QuotaError(
            f"{quota.images} pictures a day are allowed, {drawn.images} were drawn and "
            f"{there.images} are open; the count starts again at 00:00 UTC",
            "image_quota_exceeded",
        )
    if (there.pixels + drawn.pixels + pixels) / 1e6 > quota.megapixels:
        raise QuotaError(
            f"{quota.megapixels:g} megapixels a day are allowed, {drawn.pixels / 1e6:.2f} were "
            f"drawn and {there.pixels / 1e6:.2f} are open; the count starts again at 00:00 UTC",
            "megapixel_quota_exceeded",
        )


def _open(connection: Connection, quota: Quota, account_id: str) -> _Count:
    query = select(func.count(), func.sum(JOBS.c.images), func.sum(JOBS.c.pixels))
    query = query.where(JOBS.c.account_id == account_id, JOBS.c.status.in_(OPEN))
    if quota.key_id is not None:
        query = query.where(JOBS.c.key_id == quota.key_id)
    return _Count(*(int(value or 0) for value in connection.execute(query).one()))


def _drawn(connection: Connection, quota: Quota, account_id: str, now: datetime) -> _Count:
    query = select(func.count(), func.sum(USAGE.c.images), func.sum(USAGE.c.pixels))
    query = query.where(USAGE.c.account_id == account_id, USAGE.c.day == now.date())
    if quota.key_id is not None:
        query = query.where(USAGE.c.key_id == quota.key_id)
    return _Count(*(int(value or 0) for value in connection.execute(query).one()))
