"""One server for each database, on SQLite and on PostgreSQL."""

import subprocess
import sys
import threading

import pytest
from sqlalchemy import create_engine, text

from flux1.errors import StoreError
from flux1.settings import ServerSettings
from flux1.store.lease import leased
from flux1.store.open import open_store

HOLDER = """
import sys, time
from flux1.settings import ServerSettings
from flux1.store.lease import leased
with leased(ServerSettings(database=sys.argv[1]), 0, print):
    print("held", flush=True)
    time.sleep(600)
"""


def silent(_: str) -> None:
    pass


@pytest.fixture
def settings(tmp_path, upgraded_url, url):
    return ServerSettings(data=tmp_path, database=url)


def test_a_second_server_is_refused_in_one_line_until_the_first_one_stops(settings):
    told = []
    with leased(settings, 0, silent) as first:
        assert first.held()
        with pytest.raises(StoreError, match="another server works on") as refused:
            leased(settings, 0.3, told.append).__enter__()
        assert "\n" not in str(refused.value)
        assert "password" not in str(refused.value)
        assert len(told) == 1
        assert "waiting up to 0 s" in told[0]
    with leased(settings, 0, silent) as second:
        assert second.held()


def test_a_server_that_starts_early_waits_for_the_one_that_stops(settings):
    waits = threading.Event()

    def start():
        with leased(settings, 60, lambda _: waits.set()) as lease:
            return lease.held()

    taken = []
    with leased(settings, 0, silent):
        later = threading.Thread(target=lambda: taken.append(start()))
        later.start()
        assert waits.wait(60)
        assert taken == []
    later.join(60)
    assert taken == [True]


def test_a_killed_server_s_lease_is_free_and_other_commands_need_none(settings, url):
    with subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        open_store(settings).close()  # as `flux1 users` does
        with pytest.raises(StoreError, match="another server"):
            leased(settings, 0, silent).__enter__()
        holder.kill()
    with leased(settings, 30, silent) as lease:
        assert lease.held()


def test_a_lease_whose_line_was_cut_is_taken_anew_unless_somebody_else_has_it(settings, url):
    if url.startswith("sqlite"):
        return  # a file's lock has no line
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    mine = "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"
    with leased(settings, 0, silent) as lease, admin.connect() as connection:
        connection.execute(text(mine))
        with pytest.raises(StoreError):
            lease.held()
        assert lease.held()
        connection.execute(text(mine))
        with pytest.raises(StoreError):
            lease.held()
        with leased(settings, 0, silent):
            assert not lease.held()
        assert lease.held()
    admin.dispose()
