"""Each test of the store runs on SQLite and on PostgreSQL, on a database of its own."""

from datetime import UTC, datetime, timedelta

import pytest

from flux1.store.accounts import Account, Accounts
from flux1.store.database import Database
from flux1.store.requests import Requests
from flux1.store.tables import ACCOUNTS
from passwords import quick, quick_passwords
from store.databases import KINDS, fresh_databases
from store.samples import PASSWORD

__all__ = ["quick_passwords"]


class Clock:
    """What the database is told the time is."""

    def __init__(self):
        self.time = datetime(2030, 6, 15, 12, 0, tzinfo=UTC)

    def __call__(self):
        return self.time

    def advance(self, **units):
        self.time += timedelta(**units)


@pytest.fixture(scope="session", params=KINDS)
def fresh(request, tmp_path_factory):
    with fresh_databases(request.param, tmp_path_factory.mktemp("databases")) as fresh:
        yield fresh


@pytest.fixture
def empty_url(fresh):
    with fresh() as url:
        yield url


@pytest.fixture(scope="session")
def upgraded_url(fresh):
    with fresh() as url:
        database = Database.open(url)
        database.upgrade()
        database.close()
        yield url


@pytest.fixture
def url(fresh, upgraded_url):
    """Of a database that has its tables."""
    with fresh(like=upgraded_url) as url:
        yield url


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def database(url, clock):
    database = Database.open(url, clock)
    yield database
    database.close()


@pytest.fixture
def accounts(database):
    return Accounts(database)


@pytest.fixture(scope="session")
def password_hash():
    """Of PASSWORD: accounts that only have to be there share it."""
    return quick().hash(PASSWORD)


@pytest.fixture
def account(database, password_hash):
    """An administrator."""
    return insert_account(database, password_hash, "ada", administrator=True)


@pytest.fixture
def deputy(database, password_hash, account, clock):
    """A second administrator."""
    clock.advance(seconds=1)
    return insert_account(database, password_hash, "eve", administrator=True)


@pytest.fixture
def other(database, password_hash, account, clock):
    clock.advance(seconds=1)
    return insert_account(database, password_hash, "bob", administrator=False)


def insert_account(database, password_hash, name, administrator):
    account = Account(
        f"acct_{name}", f"{name}@example.org", administrator, True, 1.0, database.now()
    )
    with database.begin() as connection:
        row = vars(account) | {"password_hash": password_hash}
        connection.execute(ACCOUNTS.insert().values(row))
    return account


@pytest.fixture
def requests(database):
    return Requests(database)
