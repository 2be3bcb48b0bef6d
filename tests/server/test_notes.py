"""What a model never learnt is said in every format's answer, and kept with the request."""

import json
import re
import time
from collections.abc import Iterator

import httpx2
import openai
import pytest

from flux1.cli.serve import Placed, join
from flux1.server.parts import Parts
from service import serving, settings_in
from worded import KNOWN, SAID, UNKNOWN, make_worded

SIZE_LINE = "tiny was trained at 64x64, 96x64, not at 64x96"


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[tuple[Parts, str]]:
    """A service whose model has lists of its words and sizes."""
    folder = tmp_path_factory.mktemp("service")
    model = str(make_worded(folder / "tiny"))
    parts = join(settings_in(folder), [model], ["flux-dev=tiny"], False, False, Placed("cpu"))
    with serving(parts) as url:
        yield parts, url
    parts.engine.close(0)
    parts.store.close()


@pytest.fixture
def http_client(caller):
    with httpx2.Client(base_url=caller.url, headers={"x-key": caller.key}, timeout=60) as client:
        yield client


def told(notes: list[str]) -> bool:
    """Whether it is the line about UNKNOWN's words, and that alone."""
    (line,) = notes
    words = re.sub(r" \(nearest: [^)]*\)", "", line)
    return words == f"words that tiny never learnt: {', '.join(SAID)}"


def test_openais_answer_and_stream(caller, http_client):
    with openai.OpenAI(base_url=f"{caller.url}/v1", api_key=caller.key) as client:

        def ask(prompt: str, **more):
            return client.images.generate(prompt=prompt, extra_body={"steps": 1}, **more)

        assert told(ask(UNKNOWN).notes)
        assert ask(KNOWN).notes == []
        assert ask(KNOWN, size="64x96").notes == [SIZE_LINE]
        (event,) = ask(UNKNOWN, stream=True)
        assert told(event.notes)
        (event,) = ask(KNOWN, stream=True)
        assert event.notes == []


def test_bfls_answers(http_client):
    for prompt in (UNKNOWN, KNOWN):
        body = {"prompt": prompt, "steps": 1, "width": 64, "height": 64}
        accepted = http_client.post("/v1/flux-dev", json=body).json()
        while True:
            found = http_client.get("/v1/get_result", params={"id": accepted["id"]}).json()
            if found["status"] != "Pending":
                break
            time.sleep(0)
        for notes in (accepted["notes"], found["result"]["notes"]):
            assert told(notes) if prompt == UNKNOWN else notes == []


def test_the_request_keeps_them_until_it_is_erased(http_client):
    body = {"prompt": UNKNOWN, "steps": 1, "size": "64x64"}
    drawn = http_client.post("/v1/images/generations", json=body).json()
    row = http_client.get(f"/v1/requests/{drawn['id']}").json()
    assert row["notes"] == drawn["notes"]
    assert told(row["notes"])
    http_client.delete(f"/v1/requests/{drawn['id']}")
    erased = http_client.get(f"/v1/requests/{drawn['id']}")
    assert erased.json()["notes"] == []
    assert "zorb" not in erased.text


def test_models_and_the_size_menu_say_what_was_trained(caller, http_client):
    (listed,) = {
        tuple(one["trained_sizes"]) for one in http_client.get("/v1/models").json()["data"]
    }
    assert listed == ("64x64", "96x64")
    session = caller.parts.store.accounts.open_session(caller.account_id, 1)
    http_client.cookies.set("flux1_session", session)
    page = http_client.get("/playground").text
    sizes = re.search(r'data-sizes="([^"]*)"', page)[1].strip(";").split(";")
    unmarked = {size.split(" ")[0] for size in sizes if not size.endswith("not trained")}
    assert unmarked == {"64x64", "96x64"}
    assert len(sizes) > 4


def test_the_playground_is_told(caller, http_client):
    session = caller.parts.store.accounts.open_session(caller.account_id, 1)
    http_client.cookies.set("flux1_session", session)
    page = http_client.get("/gallery", headers={"accept": "text/html"}).text
    token = re.search(r'name="csrf-token" content="(\w+)"', page)[1]
    for prompt in (UNKNOWN, KNOWN):
        answer = http_client.post(
            "/playground/generate", headers={"x-csrf-token": token},
            json={"prompt": prompt, "steps": 1, "stream": True},
        )  # fmt: skip
        event = json.loads(answer.text.split("data: ")[1])
        assert told(event["notes"]) if prompt == UNKNOWN else event["notes"] == []
        shown = http_client.get(f"/requests/{event['id']}", headers={"accept": "text/html"}).text
        assert ("never learnt: zorb" in shown) == (prompt == UNKNOWN)
