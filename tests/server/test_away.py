"""Database or pictures away, in the middle of the work: said, not told on, and mended by itself."""

import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
import pytest

from instant import InstantEngine
from service import Running, joined, newcomer, serving, settings_in
from store.databases import fresh_databases

ASKED = {"model": "tiny", "prompt": "a fox"}


class Line:
    """A socket that leads to PostgreSQL's, until it is cut."""

    def __init__(self, folder: Path, behind: str) -> None:
        self.path, self._behind = folder / ".s.PGSQL.5432", f"{behind}/.s.PGSQL.5432"
        self._open: list[socket.socket] = []

    def mend(self) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen()
        threading.Thread(target=self._accept, args=[self._listening], daemon=True).start()

    def cut(self) -> None:
        self.path.unlink()
        for one in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._behind)
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=[one, other], daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


class Held(InstantEngine):
    """Draws at once, as soon as it may."""

    may = threading.Event()

    def submit(self, order, listener):
        def draw():
            assert self.may.wait(60)
            InstantEngine.submit(self, order, listener)

        threading.Thread(target=draw).start()


@pytest.fixture(scope="module")
def line(tmp_path_factory) -> Iterator[tuple[Running, Line]]:
    """A service whose database is at the end of a line."""
    folder = tmp_path_factory.mktemp("line")
    with fresh_databases("postgresql", folder) as fresh, fresh() as url:
        behind = parse_qs(urlsplit(url).query)["host"][0]
        line = Line(Path(str(folder)), behind)
        line.mend()
        settings = settings_in(folder).model_copy(
            update={"database": url.replace(behind, str(folder))}
        )
        with joined(settings) as parts:
            held = replace(parts, engine=Held(parts.engine.models))
            with serving(held) as address:
                yield newcomer(held, address, "ada@example.com"), line


def call(running: Running, method: str, path: str, **body) -> httpx.Response:
    headers = {"x-key": running.key}
    asked = {"json": body} if body else {}
    return httpx.request(method, running.url + path, headers=headers, timeout=60, **asked)


def away(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert "cannot reach what it keeps its data in" in answer.json()["error"]["message"]
    assert not any(word in answer.text for word in ("/", "PGSQL", "host", "pictures"))


def ended(running: Running, id: str) -> dict:
    while True:
        answer = call(running, "GET", f"/v1/get_result?id={id}")
        if answer.status_code == 200 and answer.json()["status"] != "Pending":
            return answer.json()


def test_a_database_that_goes_and_comes_back_costs_no_accepted_request(line):
    running, line = line
    Held.may.clear()
    accepted = [call(running, "POST", "/v1/tiny", prompt="a fox").json()["id"] for _ in range(2)]
    line.cut()
    away(call(running, "POST", "/v1/images/generations", **ASKED))
    ready = call(running, "GET", "/health/ready")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["the database does not answer"])
    Held.may.set()  # they are drawn, and cannot be written down
    away(call(running, "GET", f"/v1/get_result?id={accepted[0]}"))
    line.mend()
    assert [ended(running, id)["status"] for id in accepted] == ["Ready"] * 2
    assert call(running, "POST", "/v1/images/generations", **ASKED).status_code == 200
    while call(running, "GET", "/health/ready").status_code != 200:
        pass  # what was known stays known for a moment


def test_pictures_wait_for_a_place_that_is_away(line):
    running, _ = line
    Held.may.set()
    folder = running.parts.store.folder / "pictures"
    aside = folder.with_name("aside")
    shutil.move(folder, aside)
    folder.touch()
    away(call(running, "POST", "/v1/images/generations", **ASKED))
    accepted = call(running, "POST", "/v1/tiny", prompt="a fox").json()["id"]
    while (ready := call(running, "GET", "/health/ready")).status_code == 200:
        pass
    assert ready.json()["reasons"] == ["the pictures' place does not answer"]
    folder.unlink()
    shutil.move(aside, folder)
    result = ended(running, accepted)
    assert result["status"] == "Ready"
    assert httpx.get(result["result"]["sample"]).headers["content-type"] == "image/jpeg"
    failed = running.parts.store.requests.search(account_id=running.account_id, status="failed")
    assert {stored.error_message for stored in failed} == {
        "the server cannot reach what it keeps its data in; its log says why"
    }
