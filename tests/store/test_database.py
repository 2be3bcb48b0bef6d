"""One door: it opens, upgrades, commits and refuses as it says."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from flux1.errors import StoreError
from flux1.store.database import Database
from flux1.store.requests import Requests
from flux1.store.tables import ACCOUNTS, KEYS, METADATA
from store.samples import new_request, race


def account_row(id="acct_1", created=datetime(2030, 1, 1, tzinfo=UTC), weight=0.0):
    return {
        "id": id,
        "email": f"{id}@example.org",
        "password_hash": "x",
        "administrator": False,
        "enabled": True,
        "weight": weight,
        "created": created,
    }


def test_migrations_make_exactly_the_tables(database):
    with database.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_a_second_upgrade_changes_nothing(database):
    with database.begin() as connection:
        connection.execute(insert(ACCOUNTS).values(account_row()))
    database.upgrade()
    assert len(database.all(select(ACCOUNTS))) == 1


def test_several_may_start_at_once(empty_url):
    def start(_):
        database = Database.open(empty_url)
        database.upgrade()
        database.close()

    assert race(6, start) == [None] * 6


def test_a_newer_database_is_refused(database):
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"newer flux1.*9999"):
        database.upgrade()


@pytest.mark.parametrize(
    "wrong",
    [
        "nonsense",
        "mysql://ada:geheim@localhost/flux1",
        "postgres://ada:geheim@localhost/flux1",
        "postgresql://ada:geheim@localhost:port/flux1",
        "postgresql+psycopg://ada:geheim@127.0.0.1:1/flux1",
        "postgresql+psycopg://ada@127.0.0.1:1/flux1?password=geheim",
        "postgresql+psycopg://ada:geheim@127.0.0.1:1/flux1?nonsense=1",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////no/such/folder/flux1.db",
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line_without_the_password(wrong):
    with pytest.raises(StoreError) as refused:
        Database.open(wrong)
    assert "geheim" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "flux1.db").write_bytes(b"not a database, but long enough to be looked at" * 99)
    with pytest.raises(StoreError, match="not a database"):
        Database.open(f"sqlite:///{tmp_path}/flux1.db")


def test_what_the_driver_refuses_is_a_store_error(tmp_path):
    database = Database.open(f"sqlite:///{tmp_path}/flux1.db")
    with pytest.raises(StoreError, match="no such table: nowhere"), database.read() as connection:
        connection.execute(text("SELECT * FROM nowhere"))
    database.close()


def test_a_connection_that_the_server_closed_is_replaced(database):
    with database.begin() as connection:
        if connection.dialect.name != "postgresql":
            pytest.skip("SQLite has no server that could close connections")
        mine = connection.scalar(text("SELECT pg_backend_pid()"))
    other = Database.open(connection.engine.url)
    with other.begin() as connection:
        assert connection.scalar(text(f"SELECT pg_terminate_backend({mine}, 5000)"))
    other.close()
    assert database.all(select(ACCOUNTS)) == []


def test_an_exception_undoes_the_transaction(database):
    def write_and_break(k):
        with database.begin() as connection:
            connection.execute(insert(ACCOUNTS).values(account_row()))
            return k / 0

    with pytest.raises(ZeroDivisionError):
        write_and_break(1)
    assert database.all(select(ACCOUNTS)) == []


def test_writers_wait_for_each_other_and_lose_nothing(database):
    with database.begin() as connection:
        connection.execute(insert(ACCOUNTS).values(account_row()))

    def add(_):
        for _ in range(5):
            with database.begin(lock="weight") as connection:
                weight = connection.scalar(select(ACCOUNTS.c.weight))
                connection.execute(ACCOUNTS.update().values(weight=weight + 1))

    assert race(8, add) == [None] * 8
    assert database.one(select(ACCOUNTS))["weight"] == 40


def test_readers_do_not_wait_for_a_writer(database):
    with database.begin() as connection:
        connection.execute(insert(ACCOUNTS).values(account_row()))
        (seen,) = race(1, lambda _: database.all(select(ACCOUNTS)))
    assert seen == []
    assert len(database.all(select(ACCOUNTS))) == 1


def test_references_are_checked(database):
    orphan = {"id": "k", "account_id": "nobody", "name": "n", "prefix": "p", "secret_hash": "s"}
    values = orphan | {"scopes": "", "created": database.now()}
    with pytest.raises(IntegrityError), database.begin() as connection:
        connection.execute(insert(KEYS).values(values))


def test_times_come_back_aware_and_in_utc(database):
    summer = datetime(2030, 6, 15, 1, 2, 3, 456789, tzinfo=timezone(timedelta(hours=2)))
    with database.begin() as connection:
        connection.execute(insert(ACCOUNTS).values(account_row(created=summer)))
    read = database.one(select(ACCOUNTS))["created"]
    assert read == summer
    assert read.tzinfo is UTC


def test_a_time_without_zone_is_refused(database):
    row = account_row(created=datetime(2030, 1, 1))
    with pytest.raises(StatementError, match="no time zone"), database.begin() as connection:
        connection.execute(insert(ACCOUNTS).values(row))


def test_text_that_a_database_cannot_hold_is_neither_an_error_nor_lost(database, account):
    requests, odd = Requests(database), "a\0fox\ud800 🦊"
    stored, _ = requests.accept(new_request(account.id, prompt=odd, parameters={"prompt": odd}))
    assert stored.prompt == "a\ufffdfox\ufffd 🦊"
    assert stored.parameters["prompt"] == odd
    assert requests.get("\0\udfff") is None
    assert requests.search(text="\0fox") == [stored]
