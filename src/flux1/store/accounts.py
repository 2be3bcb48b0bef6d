"""Who may use the service: accounts, passwords, log-ins."""

import hashlib
import math
import re
import secrets
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cached_property

from pwdlib import PasswordHash
from sqlalchemy import Connection, RowMapping, func, select
from sqlalchemy.exc import IntegrityError

from flux1.errors import AccountError
from flux1.store.database import Database, new_id
from flux1.store.tables import ACCOUNTS, SESSIONS

SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
LONGEST_EMAIL = 254
LARGEST_WEIGHT = 1000


@dataclass(frozen=True)
class Account:
    """`weight` is its share of the machine in proportion to others'."""

    id: str
    email: str
    administrator: bool
    enabled: bool
    weight: float
    created: datetime


@dataclass(frozen=True)
class Session:
    """A log-in. `csrf` is what its own pages know, so that a form can prove to come from them."""

    account: Account
    csrf: str
    created: datetime
    expires: datetime


ACCOUNT_COLUMNS = [ACCOUNTS.c[field.name] for field in fields(Account)]


class Accounts:
    """The `set_...` methods raise AccountError if there is no such account, and where no enabled
    administrator would be left."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._passwords = PasswordHash.recommended()

    def register(self, email: str, password: str, *, administrator: bool | None = None) -> Account:
        """A new account. `administrator` None: the first account ever is one, later ones are not.

        AccountError for an e-mail that is none or is taken, and for a password out of bounds.
        """
        email, password_hash = _checked_email(email), self._hash(password)
        with self._database.begin(lock="accounts") as connection:
            if administrator is None:
                administrator = not connection.scalar(select(func.count()).select_from(ACCOUNTS))
            now = self._database.now()
            account = Account(new_id("acct"), email, administrator, True, 1.0, now)
            row = vars(account) | {"password_hash": password_hash}
            try:
                connection.execute(ACCOUNTS.insert().values(row))
            except IntegrityError:
                raise AccountError("email", f"{email} has an account already") from None
        return account

    def authenticate(self, email: str, password: str) -> Account:
        """AccountError if the two do not belong together, or if the account is disabled.

        Whether the e-mail is known shows neither in the words nor in the time it takes.
        """
        unknown_hash = self._unknown_hash
        row = self._database.one(select(ACCOUNTS).where(ACCOUNTS.c.email == _folded(email)))
        password_hash = row["password_hash"] if row else unknown_hash
        matches = self._passwords.verify(password.encode("utf-8", "replace"), password_hash)
        if row is None or not matches:
            raise AccountError("password", "does not belong to this e-mail")
        if not row["enabled"]:
            raise AccountError("email", "this account is disabled")
        return make_account(row)

    def get(self, id: str) -> Account | None:
        row = self._database.one(select(ACCOUNTS).where(ACCOUNTS.c.id == id))
        return make_account(row) if row else None

    def find(self, email: str) -> Account | None:
        row = self._database.one(select(ACCOUNTS).where(ACCOUNTS.c.email == _folded(email)))
        return make_account(row) if row else None

    def list(self) -> tuple[Account, ...]:
        """All, oldest first."""
        query = select(*ACCOUNT_COLUMNS).order_by(ACCOUNTS.c.created, ACCOUNTS.c.id)
        return tuple(map(make_account, self._database.all(query)))

    def count(self) -> int:
        (row,) = self._database.all(select(func.count().label("accounts")).select_from(ACCOUNTS))
        return row["accounts"]

    def set_enabled(self, id: str, enabled: bool) -> None:
        """A disabled account's keys open nothing, and its sessions end."""
        self._update(id, disempowers=not enabled, end_sessions=not enabled, enabled=enabled)

    def set_weight(self, id: str, weight: float) -> None:
        if not (math.isfinite(weight) and 0 < weight <= LARGEST_WEIGHT):
            bounds = f"above 0 and at most {LARGEST_WEIGHT}"
            raise AccountError("weight", f"{weight:g} is not {bounds}; an account begins with 1")
        self._update(id, weight=weight)

    def set_administrator(self, id: str, administrator: bool) -> None:
        self._update(id, disempowers=not administrator, administrator=administrator)

    def set_password(self, id: str, password: str) -> None:
        """Ends all sessions of the account."""
        self._update(id, end_sessions=True, password_hash=self._hash(password))

    def open_session(self, account_id: str, days: int) -> str:
        """The token of a new log-in: 256 random bits, of which only the SHA-256 is kept."""
        token, now = secrets.token_urlsafe(32), self._database.now()
        session = {
            "token_hash": _digest(token),
            "account_id": account_id,
            "created": now,
            "expires": now + timedelta(days=days),
        }
        with self._database.begin() as connection:
            connection.execute(SESSIONS.delete().where(SESSIONS.c.expires <= now))
            connection.execute(SESSIONS.insert().values(session))
        return token

    def session(self, token: str) -> Session | None:
        """None if the token is unknown or has expired, or its account is disabled."""
        row = self._database.one(
            select(*ACCOUNT_COLUMNS, SESSIONS)
            .join_from(SESSIONS, ACCOUNTS)
            .where(SESSIONS.c.token_hash == _digest(token), ACCOUNTS.c.enabled)
            .where(SESSIONS.c.expires > self._database.now())
        )
        if row is None:
            return None
        created, expires = row[SESSIONS.c.created], row[SESSIONS.c.expires]
        return Session(make_account(row), _digest(f"csrf:{token}"), created, expires)

    def close_session(self, token: str) -> None:
        with self._database.begin() as connection:
            connection.execute(SESSIONS.delete().where(SESSIONS.c.token_hash == _digest(token)))

    @cached_property
    def _unknown_hash(self) -> str:
        """The hash that the password for an unknown e-mail is compared with: the same work, no
        match."""
        return self._passwords.hash(secrets.token_urlsafe())

    def _hash(self, password: str) -> str:
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            bounds = f"from {SHORTEST_PASSWORD} to {LONGEST_PASSWORD}"
            raise AccountError("password", f"has {len(password)} characters, not {bounds}")
        try:
            return self._passwords.hash(password.encode())
        except UnicodeEncodeError:
            raise AccountError("password", "holds bytes that are not UTF-8 text") from None

    def _update(
        self, id: str, *, disempowers: bool = False, end_sessions: bool = False, **values: object
    ) -> None:
        # one after the other: of two administrators who disable each other, one stays
        with self._database.begin(lock="accounts" if disempowers else None) as connection:
            if disempowers:
                _refuse_the_last_administrator(connection, id)
            change = ACCOUNTS.update().where(ACCOUNTS.c.id == id).values(values)
            if not connection.execute(change).rowcount:
                raise AccountError("id", "there is no such account")
            if end_sessions:
                connection.execute(SESSIONS.delete().where(SESSIONS.c.account_id == id))


def _refuse_the_last_administrator(connection: Connection, id: str) -> None:
    able = ACCOUNTS.c.administrator & ACCOUNTS.c.enabled
    rows = connection.execute(select(ACCOUNTS.c.id, ACCOUNTS.c.email).where(able).limit(2)).all()
    if [row.id for row in rows] == [id]:
        why = f"{rows[0].email} is the last administrator; make another one first"
        raise AccountError("users", why)


def make_account(row: RowMapping) -> Account:
    """From a row that holds, perhaps among others, the columns of an account."""
    return Account(*(row[column] for column in ACCOUNT_COLUMNS))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _folded(email: str) -> str:
    return email.strip().lower()


def _checked_email(email: str) -> str:
    email = _folded(email)
    if len(email) > LONGEST_EMAIL:
        raise AccountError("email", f"has {len(email)} characters, at most {LONGEST_EMAIL}")
    if not email.isprintable() or not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        raise AccountError("email", f"{email!r} is not an address such as you@example.org")
    return email
