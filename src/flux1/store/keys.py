"""API keys: shown once, kept as a hash."""

import hashlib
import math
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping, Select, select

from flux1.errors import KeyRefusedError, RequestError, nearest
from flux1.store.accounts import ACCOUNT_COLUMNS, Account, make_account
from flux1.store.database import Database, new_id
from flux1.store.tables import ACCOUNTS, KEYS

SCOPES = {
    "images:write": "draw pictures, cancel and erase them",
    "images:read": "look up requests and fetch their pictures",
    "usage:read": "read how much was drawn",
}
LONGEST_NAME = 100

_ALPHABET = string.digits + string.ascii_letters
_SECRET = re.compile(r"fx1_[0-9A-Za-z]{43}")  # 43 of 62 characters: 256 bits
_PREFIX = 10
_LAST_USED_EVERY = timedelta(minutes=1)
_MOST = 10**9
_BOUNDS: dict[str, tuple[float, float]] = {
    "requests_per_minute": (1, _MOST),
    "concurrency": (1, _MOST),
    "images_per_day": (1, _MOST),
    "megapixels_per_day": (0.01, _MOST),
    "tolerance": (0, 6),
}


@dataclass(frozen=True)
class KeyLimits:
    """The limits of a key; None is the server's default. RequestError for a number out of
    bounds."""

    requests_per_minute: int | None = None
    concurrency: int | None = None
    images_per_day: int | None = None
    megapixels_per_day: float | None = None
    tolerance: int | None = None

    def __post_init__(self) -> None:
        for field, value in asdict(self).items():
            low, high = _BOUNDS[field]
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                near = min(max(value, low), high) if math.isfinite(value) else low
                raise RequestError(field, f"{value} is not from {low} to {high}; nearest: {near}")


@dataclass(frozen=True)
class Key:
    """`prefix` is how the secret begins, to tell keys apart by."""

    id: str
    account_id: str
    name: str
    prefix: str
    scopes: frozenset[str]
    limits: KeyLimits
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    last_used: datetime | None


class Keys:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        account_id: str,
        name: str,
        *,
        scopes: Iterable[str] = tuple(SCOPES),
        expires: datetime | None = None,
        limits: KeyLimits | None = None,
    ) -> tuple[Key, str]:
        """A new key, and its secret, which cannot be had again.

        RequestError for a name, a scope or a time that cannot be meant.
        """
        now = self._database.now()
        if expires is not None and expires <= now:
            raise RequestError("expires", f"{expires:%Y-%m-%d %H:%M} is past; name a later time")
        name, granted = _checked_name(name), _checked_scopes(scopes)
        with self._database.begin() as connection:
            return _insert(
                connection, account_id, name, granted, limits or KeyLimits(), now, expires
            )

    def check(self, secret: str) -> tuple[Key, Account]:
        """The key of a secret, and whose it is. `last_used` is kept to the minute.

        KeyRefusedError if it is unknown, revoked or expired, or if its account is disabled; of
        the secret the message holds the prefix alone.
        """
        if not _SECRET.fullmatch(secret):
            raise KeyRefusedError("the API key is not of this service: its keys begin with fx1_")
        row = self._database.one(
            select(*ACCOUNT_COLUMNS, KEYS)
            .join_from(KEYS, ACCOUNTS)
            .where(KEYS.c.secret_hash == _digest(secret))
        )
        shown, now = f"API key {secret[:_PREFIX]}...", self._database.now()
        if row is None:
            raise KeyRefusedError(f"{shown} is unknown")
        key, account = _make_key(row), make_account(row)
        if key.revoked is not None:
            raise KeyRefusedError(f"{shown} was revoked on {key.revoked:%Y-%m-%d}")
        if key.expires is not None and key.expires <= now:
            raise KeyRefusedError(f"{shown} expired on {key.expires:%Y-%m-%d}")
        if not account.enabled:
            raise KeyRefusedError(f"{shown} is of an account that is disabled")
        if key.last_used is None or now - key.last_used >= _LAST_USED_EVERY:
            with self._database.begin() as connection:
                connection.execute(KEYS.update().where(KEYS.c.id == key.id).values(last_used=now))
        return key, account

    def list(self, account_id: str) -> tuple[Key, ...]:
        """All of an account, newest first."""
        query = select(KEYS).where(KEYS.c.account_id == account_id)
        query = query.order_by(KEYS.c.created.desc(), KEYS.c.id.desc())
        return tuple(map(_make_key, self._database.all(query)))

    def get(self, account_id: str, key_id: str) -> Key | None:
        row = self._database.one(_of_account(account_id, key_id))
        return _make_key(row) if row else None

    def revoke(self, account_id: str, key_id: str) -> Key | None:
        """The key, which opens nothing from now on; None if the account has no such key."""
        with self._database.begin() as connection:
            _revoke(connection, account_id, key_id, self._database.now())
            row = connection.execute(_of_account(account_id, key_id)).mappings().one_or_none()
        return _make_key(row) if row else None

    def rotate(self, account_id: str, key_id: str) -> tuple[Key, str] | None:
        """A new key like this one, which is revoked; one that expires is given as long again.

        None if the account has no such key, or if it was revoked before.
        """
        now = self._database.now()
        with self._database.begin() as connection:
            if not _revoke(connection, account_id, key_id, now):
                return None
            old = _make_key(connection.execute(_of_account(account_id, key_id)).mappings().one())
            expires = now + (old.expires - old.created) if old.expires else None
            return _insert(connection, account_id, old.name, old.scopes, old.limits, now, expires)


def _insert(
    connection: Connection,
    account_id: str,
    name: str,
    scopes: frozenset[str],
    limits: KeyLimits,
    created: datetime,
    expires: datetime | None,
) -> tuple[Key, str]:
    secret = "fx1_" + "".join(secrets.choice(_ALPHABET) for _ in range(43))
    key = Key(
        new_id("key"),
        account_id,
        name,
        secret[:_PREFIX],
        scopes,
        limits,
        created,
        expires,
        revoked=None,
        last_used=None,
    )
    row = {k: v for k, v in vars(key).items() if k != "limits"} | asdict(limits)
    row |= {"scopes": " ".join(sorted(scopes)), "secret_hash": _digest(secret)}
    connection.execute(KEYS.insert().values(row))
    return key, secret


def _revoke(connection: Connection, account_id: str, key_id: str, now: datetime) -> bool:
    """Return whether this call is the one that revoked it."""
    mine = KEYS.update().where(KEYS.c.id == key_id, KEYS.c.account_id == account_id)
    change = mine.where(KEYS.c.revoked.is_(None)).values(revoked=now)
    return connection.execute(change).rowcount == 1


def _of_account(account_id: str, key_id: str) -> Select[tuple[object, ...]]:
    return select(KEYS).where(KEYS.c.id == key_id, KEYS.c.account_id == account_id)


def _make_key(row: RowMapping) -> Key:
    limits = KeyLimits(**{f.name: row[KEYS.c[f.name]] for f in fields(KeyLimits)})
    plain = {f.name: row[KEYS.c[f.name]] for f in fields(Key) if f.name != "limits"}
    return Key(**plain | {"scopes": frozenset(plain["scopes"].split()), "limits": limits})


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or not name.isprintable():
        raise RequestError("name", f"{name!r} is not a name; for example 'laptop'")
    if len(name) > LONGEST_NAME:
        raise RequestError("name", f"has {len(name)} characters, at most {LONGEST_NAME}")
    return name


def _checked_scopes(scopes: Iterable[str]) -> frozenset[str]:
    granted = frozenset(scopes)
    for scope in sorted(granted - SCOPES.keys()):
        known = ", ".join(SCOPES)
        raise RequestError("scopes", f"{scope!r} is not one of {known}{nearest(scope, SCOPES)}")
    if not granted:
        raise RequestError("scopes", f"is empty; name some of {', '.join(SCOPES)}")
    return granted


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
