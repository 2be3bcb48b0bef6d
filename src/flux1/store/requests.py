"""Requests: each is a row before it is work, and ends exactly once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Select, Table, func, literal, or_, select, tuple_

from flux1.errors import RequestError
from flux1.store.database import Database, new_id
from flux1.store.quotas import OPEN, Quota, check_quota
from flux1.store.tables import DELIVERIES, JOBS, PICTURES, USAGE, Text

RequestStatus = Literal["queued", "running", "succeeded", "failed", "cancelled", "blocked"]
FailedStatus = Literal["failed", "cancelled", "blocked"]
LONGEST_IDEMPOTENCY_KEY = 255


@dataclass(frozen=True, kw_only=True)
class NewPicture:
    """A picture whose bytes are stored. `expires` None: kept for ever."""

    id: str
    index: int
    seed: int
    width: int
    height: int
    media_type: str
    size_bytes: int
    sha256: str
    expires: datetime | None


@dataclass(frozen=True, kw_only=True)
class StoredPicture(NewPicture):
    """`prompt` is the words that it was drawn from, '' once its request is erased."""

    job_id: str
    account_id: str
    prompt: str
    created: datetime
    erased: datetime | None

    @property
    def cursor(self) -> str:
        """The value of `before` that goes on after this picture."""
        return self.id


@dataclass(frozen=True, kw_only=True)
class NewRequest:
    """A request as it is known when it is accepted.

    `asked_model` is the client's name for `model`. `parameters` is enough to draw it again,
    `output` how it is to be answered. `images` and `pixels` (of all images) count against quotas
    while it is open. `body_hash` tells whether a repeated idempotency key comes
    with the same request.
    """

    id: str
    account_id: str
    key_id: str | None
    api: str
    asynchronous: bool
    asked_model: str
    model: str
    model_hash: str
    prompt: str
    parameters: dict[str, Any]
    output: dict[str, Any]
    request_id: str
    body_hash: str
    idempotency_key: str | None = None
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    safety: dict[str, Any] = field(default_factory=dict)
    images: int = 1
    pixels: int = 0


@dataclass(frozen=True, kw_only=True)
class StoredRequest:
    id: str
    account_id: str
    key_id: str | None
    api: str
    asynchronous: bool
    status: RequestStatus
    asked_model: str
    model: str
    model_hash: str
    prompt: str
    parameters: dict[str, Any]
    output: dict[str, Any]
    request_id: str
    idempotency_key: str | None
    body_hash: str
    safety: dict[str, Any]
    timings: dict[str, Any]
    error_code: str | None
    error_message: str | None
    webhook_url: str | None
    created: datetime
    started: datetime | None
    finished: datetime | None
    pictures: tuple[StoredPicture, ...]

    @property
    def cursor(self) -> str:
        """The value of `before` that goes on after this request."""
        return self.id

    @property
    def notes(self) -> list[str]:
        """The remarks on the request when it was accepted, a line each."""
        return list(self.output.get("notes", ()))


_COLUMNS = [JOBS.c[f.name] for f in fields(StoredRequest) if f.name != "pictures"]
_PICTURES = select(PICTURES, JOBS.c.prompt).join_from(PICTURES, JOBS)


class Requests:
    """`account_id`, where it may be given, hides other accounts' rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accept(self, new: NewRequest, quotas: Sequence[Quota] = ()) -> tuple[StoredRequest, bool]:
        """The row of a request, and whether it is new.

        A second one with the account's same idempotency key gets the first one's row and False,
        also when both come at once. RequestError if that key is too long, QuotaError if a new one
        is more than `quotas` allow.
        """
        key = new.idempotency_key
        if key is not None and len(key) > LONGEST_IDEMPOTENCY_KEY:
            bound = f"at most {LONGEST_IDEMPOTENCY_KEY}"
            raise RequestError("Idempotency-Key", f"has {len(key)} characters, {bound}")
        now = self._database.now()
        start = {"status": "queued", "timings": {}, "created": now}
        # one after the other for each account: what is counted stays so until the row is there
        with self._database.begin(lock=f"jobs of {new.account_id}") as connection:
            id = connection.scalar(select(JOBS.c.id).where(*_under_key(new.account_id, key)))
            fresh = id is None
            if fresh:
                for quota in quotas:
                    check_quota(connection, quota, new.account_id, new.images, new.pixels, now)
                connection.execute(JOBS.insert().values(vars(new) | start))
        (stored,) = self._requests(select(*_COLUMNS).where(JOBS.c.id == (id or new.id)))
        return stored, fresh

    def under_key(self, account_id: str, idempotency_key: str) -> StoredRequest | None:
        """Return what an account's idempotency key stands for."""
        same = select(*_COLUMNS).where(*_under_key(account_id, idempotency_key))
        return next(iter(self._requests(same)), None)

    def get(self, id: str, account_id: str | None = None) -> StoredRequest | None:
        query = select(*_COLUMNS).where(JOBS.c.id == id)
        if account_id is not None:
            query = query.where(JOBS.c.account_id == account_id)
        return next(iter(self._requests(query)), None)

    def mark_running(self, id: str) -> bool:
        """Work on it begins, perhaps again after a restart; False if it has ended."""
        with self._database.begin() as connection:
            return _change_open(connection, id, status="running", started=self._database.now())

    def finish(
        self,
        id: str,
        pictures: Sequence[NewPicture],
        timings: dict[str, Any],
        safety: dict[str, Any],
    ) -> bool:
        """It has succeeded: its status, pictures and usage are written together.

        False, and nothing is written, if it had ended before.
        """
        now = self._database.now()
        with self._database.begin() as connection:
            if not _change_open(
                connection, id, status="succeeded", finished=now, timings=timings, safety=safety
            ):
                return False
            owner = connection.execute(
                select(JOBS.c.account_id, JOBS.c.key_id).where(JOBS.c.id == id)
            ).one()
            for picture in pictures:
                row = {f.name: getattr(picture, f.name) for f in fields(NewPicture)}
                row |= {"job_id": id, "account_id": owner.account_id, "created": now}
                connection.execute(PICTURES.insert().values(row))
            pixels = sum(picture.width * picture.height for picture in pictures)
            _use(connection, id, len(pictures), pixels, now)
            _announce(connection, id, now)
        return True

    def fail(
        self,
        id: str,
        status: FailedStatus,
        code: str,
        message: str,
        safety: dict[str, Any] | None = None,
        *,
        may_repeat: bool = False,
        delivered: int = 0,
    ) -> bool:
        """It has ended without pictures; False, and nothing is written, if it had ended before.

        `may_repeat` frees its idempotency key: asked again, it is tried again. `delivered` is of
        how many pictures the client has seen something already: they count as used.
        """
        values: dict[str, object] = {
            "status": status,
            "error_code": code,
            "error_message": message,
        }
        if may_repeat:
            values["idempotency_key"] = None
        verdict = {} if safety is None else {"safety": safety}
        now = self._database.now()
        with self._database.begin() as connection:
            if not _change_open(connection, id, finished=now, **values, **verdict):
                return False
            if delivered:
                reserved = connection.execute(
                    select(JOBS.c.images, JOBS.c.pixels).where(JOBS.c.id == id)
                ).one()
                each = reserved.pixels // max(1, reserved.images)
                _use(connection, id, delivered, delivered * each, now)
            _announce(connection, id, now)
        return True

    def unfinished(self) -> list[StoredRequest]:
        """The asynchronous ones that somebody still waits for, oldest first."""
        query = select(*_COLUMNS).where(JOBS.c.asynchronous, JOBS.c.status.in_(OPEN))
        return self._requests(query.order_by(JOBS.c.created, JOBS.c.id))

    def abandon_synchronous(self) -> int:
        """Fail those whose clients went with the process that served them; how many they were."""
        values = {
            "status": "failed",
            "error_code": "interrupted",
            "error_message": "the service stopped before this request was done; send it again",
            "idempotency_key": None,
            "finished": self._database.now(),
        }
        left = JOBS.update().where(~JOBS.c.asynchronous, JOBS.c.status.in_(OPEN))
        with self._database.begin() as connection:
            return connection.execute(left.values(values)).rowcount

    def webhook_secret(self, id: str) -> str | None:
        row = self._database.one(select(JOBS.c.webhook_secret).where(JOBS.c.id == id))
        return row["webhook_secret"] if row else None

    def search(
        self,
        *,
        account_id: str | None = None,
        text: str = "",
        status: RequestStatus | None = None,
        api: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[StoredRequest]:
        """Newest first. `text` is part of the prompt, or a request's or a request's id.

        `since` is included, `until` is not. `before` is the `cursor` of the last request of a page.
        """
        query = select(*_COLUMNS)
        for column, value in (("account_id", account_id), ("status", status), ("api", api)):
            if value is not None:
                query = query.where(JOBS.c[column] == value)
        if text:
            in_prompt = JOBS.c.prompt.icontains(text, autoescape=True)
            query = query.where(or_(in_prompt, JOBS.c.id == text, JOBS.c.request_id == text))
        if since is not None:
            query = query.where(JOBS.c.created >= since)
        if until is not None:
            query = query.where(JOBS.c.created < until)
        if before is not None:
            query = query.where(_older(JOBS, before))
        return self._requests(query.order_by(JOBS.c.created.desc(), JOBS.c.id.desc()).limit(limit))

    def counts(self) -> dict[RequestStatus, int]:
        """Return how many requests there are of each status, 0 included."""
        query = select(JOBS.c.status, func.count().label("count")).group_by(JOBS.c.status)
        there = {row["status"]: row["count"] for row in self._database.all(query)}
        return {status: there.get(status, 0) for status in get_args(RequestStatus)}

    def picture(self, id: str) -> StoredPicture | None:
        return next(iter(self._pictures(_PICTURES.where(PICTURES.c.id == id))), None)

    def gallery(
        self, account_id: str, before: str | None = None, limit: int = 50
    ) -> list[StoredPicture]:
        """An account's pictures that are there, newest first; `before` is a `cursor`."""
        there = or_(PICTURES.c.expires.is_(None), PICTURES.c.expires > self._database.now())
        query = _PICTURES.where(PICTURES.c.account_id == account_id)
        query = query.where(PICTURES.c.erased.is_(None), there)
        if before is not None:
            query = query.where(_older(PICTURES, before))
        newest = query.order_by(PICTURES.c.created.desc(), PICTURES.c.id.desc())
        return self._pictures(newest.limit(limit))

    def expired_pictures(self, now: datetime, limit: int) -> list[StoredPicture]:
        """Those to be erased: first delete their bytes, then mark them."""
        query = _PICTURES.where(PICTURES.c.expires <= now, PICTURES.c.erased.is_(None))
        return self._pictures(query.order_by(PICTURES.c.expires).limit(limit))

    def mark_erased(self, picture_ids: Sequence[str]) -> None:
        with self._database.begin() as connection:
            _mark_erased(connection, PICTURES.c.id.in_(picture_ids), self._database.now())

    def erase(self, job_id: str, account_id: str) -> tuple[str, ...] | None:
        """Forget words and pictures; who asked when, and what was used, stays.

        The ids of its pictures, whose bytes the caller deletes (those of `stored.pictures` better
        before: a crash between the two then leaves none behind); None if the account has no such
        request. A request that has not ended is cancelled.
        """
        now = self._database.now()
        with self._database.begin() as connection:
            mine = (JOBS.c.id == job_id, JOBS.c.account_id == account_id)
            blank: dict[str, object] = {
                "prompt": "",
                "parameters": {},
                "safety": {},
                "error_message": None,
            }
            output = connection.scalar(select(JOBS.c.output).where(*mine))
            if output is None:
                return None
            kept = output | {"labels": {}, "notes": []}  # which hold words, too
            connection.execute(JOBS.update().where(*mine).values(blank | {"output": kept}))
            _change_open(connection, job_id, status="cancelled", error_code="erased", finished=now)
            connection.execute(
                DELIVERIES.update()
                .where(DELIVERIES.c.job_id == job_id)
                .values(payload="", next_attempt=None)
            )
            _mark_erased(connection, PICTURES.c.job_id == job_id, now)
            ids = connection.scalars(select(PICTURES.c.id).where(PICTURES.c.job_id == job_id))
            erased = tuple(ids)
        self._database.forget()
        return erased

    def _requests(self, query: Select[Any]) -> list[StoredRequest]:
        rows = self._database.all(query)
        pictures: dict[str, list[StoredPicture]] = {row["id"]: [] for row in rows}
        if rows:
            of_these = _PICTURES.where(PICTURES.c.job_id.in_(list(pictures)))
            for picture in self._pictures(of_these.order_by(PICTURES.c.index)):
                pictures[picture.job_id].append(picture)
        return [StoredRequest(**row, pictures=tuple(pictures[row["id"]])) for row in rows]

    def _pictures(self, query: Select[Any]) -> list[StoredPicture]:
        return [StoredPicture(**row) for row in self._database.all(query)]


def _under_key(account_id: str, idempotency_key: str | None) -> tuple[ColumnElement[bool], ...]:
    """Selects an account's row under an idempotency key; none where there is no key."""
    return (JOBS.c.account_id == account_id, JOBS.c.idempotency_key == (idempotency_key or ""))


def _change_open(connection: Connection, id: str, **values: object) -> bool:
    """Change a request that has not ended. Whoever ends it first is the one who is told True."""
    still = JOBS.update().where(JOBS.c.id == id, JOBS.c.status.in_(OPEN))
    return connection.execute(still.values(values)).rowcount == 1


def _use(connection: Connection, id: str, images: int, pixels: int, now: datetime) -> None:
    """Count pictures of a request as used, once for each request."""
    owner = connection.execute(
        select(JOBS.c.account_id, JOBS.c.key_id).where(JOBS.c.id == id)
    ).one()
    usage = {
        "job_id": id,
        "account_id": owner.account_id,
        "key_id": owner.key_id,
        "finished": now,
        "day": now.date(),
        "images": images,
        "pixels": pixels,
    }
    connection.execute(USAGE.insert().values(usage))


def _announce(connection: Connection, id: str, now: datetime) -> None:
    """Let the request's webhook be called, if any: written with the end, so never forgotten."""
    url = connection.scalar(select(JOBS.c.webhook_url).where(JOBS.c.id == id))
    if url is not None:
        row = {"id": new_id("msg"), "job_id": id, "url": url, "payload": ""}
        connection.execute(DELIVERIES.insert().values(row | {"created": now, "next_attempt": now}))


def _older(table: Table, id: str) -> ColumnElement[bool]:
    """Selects the rows that were created before the row of that id."""
    row = table.alias()
    created = select(row.c.created).where(row.c.id == id).scalar_subquery()
    return tuple_(table.c.created, table.c.id) < tuple_(created, literal(id, Text))


def _mark_erased(connection: Connection, which: ColumnElement[bool], now: datetime) -> None:
    there = PICTURES.update().where(which, PICTURES.c.erased.is_(None))
    connection.execute(there.values(erased=now))
