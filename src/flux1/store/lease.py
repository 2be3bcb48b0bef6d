"""One server for each database: whoever serves holds a lease, which ends with its process.

On SQLite the lease is a lock on a file beside the database, on PostgreSQL an advisory lock. A
second server would take the first one's open requests for those of a run that was cut off.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from flux1.errors import StoreError
from flux1.settings import ServerSettings
from flux1.store.database import POSTGRES_PATIENCE, parse_url

RETRY_S = 0.25
_KEY = "hashtext('flux1 serve')"


class Lease(Protocol):
    def held(self) -> bool:
        """Return whether it is this process's; taken anew where the line to it was cut.
        StoreError while nobody can know."""
        ...

    def release(self) -> None: ...


@contextlib.contextmanager
def leased(settings: ServerSettings, wait_s: float, tell: Callable[[str], None]) -> Iterator[Lease]:
    """Hold the lease, for which `wait_s` seconds are waited at most: a server that is stopping
    hands it on. `tell` is told once that somebody has it. StoreError if it is not given up."""
    url = parse_url(settings.database) if settings.database else None
    if url is not None and url.drivername != "sqlite":
        lease: _FileLease | _PostgresLease = _PostgresLease(url.render_as_string(False))
        what = "this database"
    else:
        path = settings.data.expanduser() / "flux1.db" if url is None else Path(str(url.database))
        lease, what = _FileLease(path.with_name(f"{path.name}.serving")), str(path)
    last = time.monotonic() + wait_s
    waiting = False
    while not lease.held():
        if time.monotonic() >= last:
            raise StoreError(f"another server works on {what}; stop it, or serve another one")
        if not waiting:
            tell(f"another server works on {what}; waiting up to {wait_s:.0f} s for it to stop")
        waiting = True
        time.sleep(RETRY_S)
    try:
        yield lease
    finally:
        lease.release()


class _FileLease:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def held(self) -> bool:
        if self._file is not None:
            return True
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"data {self._path}: {error.strerror}") from None
        try:
            _lock(file)
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class _PostgresLease:
    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, poolclass=NullPool, connect_args=POSTGRES_PATIENCE)
        self._connection: Connection | None = None

    def held(self) -> bool:
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))
                self._connection.commit()
                return True
            connection = self._engine.connect()
            if connection.scalar(text(f"SELECT pg_try_advisory_lock({_KEY})")):
                connection.commit()  # the lock is the session's, not the transaction's
                self._connection = connection
                return True
            connection.close()
            return False
        except SQLAlchemyError as error:
            self.release()
            raise StoreError(f"database: {type(error).__name__}") from None

    def release(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None


def _lock(file: int) -> None:
    """OSError if another process has it."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
