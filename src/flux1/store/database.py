"""The one door to the database: short transactions, one clock, migrations."""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    RowMapping,
    Select,
    create_engine,
    event,
    func,
    literal,
    make_url,
    select,
)
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from flux1.errors import StoreError

Clock = Callable[[], datetime]
_BUSY_S = 30
_POSTGRES = "postgresql+psycopg"
# A server that has gone without a word is noticed: seconds, and milliseconds for what is sent.
POSTGRES_PATIENCE = {
    "connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10,
    "keepalives_interval": 5, "keepalives_count": 3,
}  # fmt: skip


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id(kind: str) -> str:
    """`kind_` and 96 random bits, of [a-z0-9_]."""
    return f"{kind}_{secrets.token_hex(12)}"


class Database:
    """SQLite (write-ahead log) or PostgreSQL; used from any thread."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.now = clock
        self._writer = engine
        self._reader = engine.execution_options(reads_only=True)

    @classmethod
    def open(cls, url: str | URL, clock: Clock = utc_now) -> "Database":
        """Connect to `sqlite:///path` or `postgresql+psycopg://user:password@host/name`.

        `clock` gives every time that is written or compared. StoreError if it cannot be opened.
        """
        parsed = parse_url(url)
        try:
            if parsed.drivername == "sqlite" and parsed.database:
                # SQLite gives its log the same mode: nobody else reads the prompts
                Path(parsed.database).touch(mode=0o600)
            database = cls(_engine(parsed), clock)
            with database._reader.connect():
                return database
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise StoreError(f"database {_shown(parsed)}: {_reason(error)}") from None

    @contextmanager
    def begin(self, lock: str | None = None) -> Iterator[Connection]:
        """A transaction that writes; an exception undoes it. It must be short.

        Transactions of the same `lock` run one after the other. StoreError if the database is
        not there or stays busy.
        """
        with _translated(), self._writer.begin() as connection:
            if lock and connection.dialect.name == "postgresql":  # SQLite has one writer anyway
                connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(lock))))
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: on SQLite it waits for no writer, and none for it."""
        with _translated(), self._reader.begin() as connection:
            yield connection

    def all(self, query: Select[Any]) -> list[RowMapping]:
        """The rows of one query, in a transaction of their own."""
        with self.read() as connection:
            return list(connection.execute(query).mappings())

    def one(self, query: Select[Any]) -> RowMapping | None:
        """The row of a query that finds one at most."""
        with self.read() as connection:
            return connection.execute(query).mappings().one_or_none()

    def probe(self) -> None:
        """StoreError if it does not answer."""
        self.all(select(literal(1)))

    def forget(self) -> None:
        """Let nothing of what was overwritten stay in SQLite's log. If somebody reads just now,
        the next call does it. PostgreSQL frees such rows by itself (autovacuum)."""
        if self._writer.dialect.name != "sqlite":
            return
        with _translated(), closing(self._writer.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def upgrade(self) -> None:
        """Bring the tables to this version, in one transaction; others who start now wait.

        StoreError if a newer version of flux1 has been here.
        """
        from alembic import command
        from alembic.config import Config
        from alembic.migration import MigrationContext
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option(
            "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
        )
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        with self.begin(lock="upgrade") as connection:
            there = set(MigrationContext.configure(connection).get_current_heads())
            if newer := sorted(there - known):
                raise StoreError(
                    f"database: was upgraded by a newer flux1 (revision {newer[0]}); "
                    "install that version again"
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        self._writer.dispose()


def parse_url(url: str | URL) -> URL:
    wanted = f"sqlite:///path/to/file or {_POSTGRES}://user:password@host/name"
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):  # their message may hold the password
        raise StoreError(f"database: is not a database URL; write {wanted}") from None
    if parsed.drivername in ("postgresql", _POSTGRES):
        return parsed.set(drivername=_POSTGRES)
    if parsed.drivername != "sqlite":
        raise StoreError(f"database: {parsed.drivername!r} is not known; write {wanted}")
    if parsed.database in (None, "", ":memory:"):
        raise StoreError("database: sqlite needs a file; write sqlite:///path/to/file")
    return parsed


def _engine(url: URL) -> Engine:
    sqlite = url.drivername == "sqlite"
    engine = create_engine(
        url,
        connect_args={"timeout": _BUSY_S} if sqlite else POSTGRES_PATIENCE,
        pool_size=8,
        max_overflow=24,
        pool_pre_ping=not sqlite,
        hide_parameters=True,  # prompts and hashes stay out of error messages
    )
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is said below, not by the driver
    _write_ahead(connection)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten
    # SQLite's own knows ASCII alone; a search should find 'Été' by 'été' here too
    connection.create_function("lower", 1, lambda text: text and text.lower(), deterministic=True)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Only the first connection ever changes the mode; two that do so at once must retry, since
    SQLite's own waiting does not cover it."""
    last = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    """Writers queue up before they read: two that upgrade a read lock would deadlock."""
    reads_only = connection.get_execution_options().get("reads_only")
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        raise StoreError(f"database: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The driver's own words, on one line, without SQLAlchemy's statement and links."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def _shown(url: URL) -> str:
    return url.set(query={}).render_as_string(hide_password=True)
