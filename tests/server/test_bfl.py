"""BFL's wire format: accepted at once, asked for later, told by webhook."""

import hashlib
import hmac
import http.server
import io
import queue
import threading

import httpx2
import pytest
from PIL import Image
from standardwebhooks import Webhook

from store.databases import KINDS

pytestmark = pytest.mark.parametrize("service", KINDS, indirect=True, scope="module")


@pytest.fixture
def http_client(caller):
    with httpx2.Client(base_url=caller.url, headers={"x-key": caller.key}, timeout=60) as client:
        yield client


def ended(client: httpx2.Client, id: str) -> dict:
    """Poll as BFL's clients do."""
    while True:
        result = client.get("/v1/get_result", params={"id": id}).json()
        if result["status"] != "Pending":
            return result


def test_a_request_is_accepted_then_ready(http_client, tiny):
    body = {"prompt": "a fox", "width": 64, "height": 96, "steps": 3, "seed": 5,
            "output_format": "png", "guidance": 2.5}  # fmt: skip
    accepted = http_client.post("/v1/flux-dev", json=body).json()
    assert accepted["polling_url"].endswith(f"/v1/get_result?id={accepted['id']}")
    assert accepted["output_mp"] == pytest.approx(64 * 96 / 1e6, abs=1e-4)
    result = ended(http_client, accepted["id"])
    assert result["status"] == "Ready"
    assert result["result"]["seed"] == 5
    got = httpx2.get(result["result"]["sample"])  # no key: the link is enough
    drawn = Image.open(io.BytesIO(got.content)).convert("RGB")
    alone = tiny("a fox", width=64, height=96, steps=3, seed=5, guidance=2.5).images[0]
    apart = max(abs(a - b) for a, b in zip(drawn.tobytes(), alone.tobytes(), strict=True))
    assert drawn.size == (64, 96)
    assert apart <= 1


def test_a_picture_is_enlarged(http_client):
    body = {"prompt": "a fox", "width": 64, "height": 96, "steps": 1, "upscale": 4}
    accepted = http_client.post("/v1/flux-dev", json=body).json()
    assert accepted["output_mp"] == pytest.approx(256 * 384 / 1e6, abs=1e-4)
    result = ended(http_client, accepted["id"])["result"]
    assert (result["width"], result["height"]) == (256, 384)
    assert Image.open(io.BytesIO(httpx2.get(result["sample"]).content)).size == (256, 384)


def test_unknown_ids_and_other_accounts_tasks_are_not_found(caller, http_client):
    accepted = http_client.post("/v1/flux-dev", json={"prompt": "a fox"}).json()
    other = caller.parts.store.accounts.register("other@example.com", "a long enough password")
    _, secret = caller.parts.store.keys.create(other.id, "theirs")
    for id, key in ((accepted["id"], secret), ("nothing", caller.key), ("a\0b", caller.key)):
        answer = httpx2.get(
            f"{caller.url}/v1/get_result", params={"id": id}, headers={"x-key": key}
        )
        assert answer.status_code == 404
        assert answer.json()["status"] == "Task not found"


def test_what_is_moderated_says_so_when_it_is_asked_for(http_client):
    accepted = http_client.post("/v1/flux-dev", json={"prompt": "nude photo of a child"})
    assert accepted.status_code == 200
    result = ended(http_client, accepted.json()["id"])
    assert result["status"] == "Request Moderated"
    assert "sexual/minors" in result["details"]["Moderation Reasons"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": "a fox", "width": 63}, "width"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "a fox", "image_prompt": "aGk="}, "image_prompt"),
        ({"prompt": "a fox", "prompt_upsampling": True}, "prompt_upsampling"),
        ({"prompt": "a fox", "safety_tolerance": 7}, "safety_tolerance"),
        ({"prompt": "a fox", "finetune_id": "x"}, "finetune_id"),
        ({"prompt": "a fox", "webhook_url": "ftp://example.com"}, "webhook_url"),
    ],
)
def test_a_bad_field_is_named(http_client, body, field):
    answer = http_client.post("/v1/flux-dev", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field


class Receiver(http.server.BaseHTTPRequestHandler):
    """Somebody's server: fails the first time, then listens."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.heard.put((dict(self.headers), body))
        self.send_response(500 if self.server.failures > 0 else 204)
        self.server.failures -= 1
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.heard, server.failures = queue.Queue(), 0
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_is_signed_delivered_and_logged(caller, http_client, receiver):
    secret = "whsec_c2VjcmV0IG9mIHRoZSByZWNlaXZlcg=="
    url = f"http://127.0.0.1:{receiver.server_port}/hook"
    body = {"prompt": "a fox", "webhook_url": url, "webhook_secret": secret}
    accepted = http_client.post("/v1/flux-dev", json=body).json()
    headers, told = receiver.heard.get(timeout=60)
    headers = {name.lower(): value for name, value in headers.items()}
    payload = Webhook(secret).verify(told.decode(), headers)  # raises if it does not fit
    assert payload["id"] == accepted["id"]
    assert payload["status"] == "Ready"
    assert payload["result"]["sample"].startswith(caller.url)
    wanted = hmac.new(secret.encode(), told, hashlib.sha256).hexdigest()
    assert headers["x-bfl-signature"] == wanted


def test_a_failed_delivery_is_kept_for_another_attempt(caller, http_client, receiver):
    receiver.failures = 1
    url = f"http://127.0.0.1:{receiver.server_port}/hook"
    accepted = http_client.post("/v1/flux-dev", json={"prompt": "a fox", "webhook_url": url}).json()
    receiver.heard.get(timeout=60)
    deliveries = caller.parts.store.deliveries
    while not (logged := deliveries.for_request(accepted["id"])) or logged[0].attempts == 0:
        pass
    (logged,) = deliveries.for_request(
        accepted["id"]
    )  # again: its attempt and its next one together
    assert logged.attempts == 1
    assert logged.next_attempt > logged.log[0].time


def test_requests_are_looked_up_cancelled_and_erased(http_client):
    accepted = http_client.post("/v1/flux-dev", json={"prompt": "a fox", "steps": 2}).json()
    ended(http_client, accepted["id"])
    row = http_client.get(f"/v1/requests/{accepted['id']}").json()
    assert row["status"] == "succeeded"
    assert row["prompt"] == "a fox"
    assert row["model"] == "tiny"
    assert httpx2.get(row["pictures"][0]["url"]).status_code == 200
    listed = http_client.get("/v1/requests", params={"text": "fox"}).json()
    assert [one["id"] for one in listed["data"]] == [accepted["id"]]

    assert http_client.delete(f"/v1/requests/{accepted['id']}").status_code == 204
    row = http_client.get(f"/v1/requests/{accepted['id']}").json()
    assert row["prompt"] == ""
    assert row["pictures"][0]["url"] is None
    assert http_client.get("/v1/usage").json()["data"][-1]["images"] == 1  # used is used

    long = {"prompt": "a fox", "steps": 1000, "width": 256, "height": 256}
    running_id = http_client.post("/v1/flux-dev", json=long).json()["id"]
    assert http_client.delete(f"/v1/requests/{running_id}").status_code == 204
    assert http_client.get(f"/v1/requests/{running_id}").json()["status"] == "cancelled"
    assert http_client.delete("/v1/requests/req_unknown").status_code == 404


def test_progress_is_told_while_it_is_drawn_and_after(http_client):
    long = {"prompt": "a fox", "steps": 1000, "width": 256, "height": 256}
    drawn = http_client.post("/v1/flux-dev", json=long).json()["id"]

    def look() -> float:
        result = http_client.get("/v1/get_result", params={"id": drawn}).json()
        assert result["status"] == "Pending"
        row = http_client.get(f"/v1/requests/{drawn}").json()
        assert result["progress"] <= row["progress"]
        return result["progress"]

    looks = [look()]
    while len(set(looks)) < 4:
        looks.append(look())
    assert looks == sorted(looks)
    assert 0 <= looks[0] < looks[-1] < 1
    assert [share * 1000 for share in looks] == pytest.approx([round(s * 1000) for s in looks])
    (listed,) = http_client.get("/v1/requests").json()["data"]
    assert looks[-1] <= listed["progress"] < 1
    http_client.delete(f"/v1/requests/{drawn}")
    assert ended(http_client, drawn)["progress"] is None
    assert http_client.get(f"/v1/requests/{drawn}").json()["progress"] is None

    short = http_client.post("/v1/flux-dev", json={"prompt": "a fox", "steps": 2}).json()["id"]
    assert ended(http_client, short)["progress"] == 1.0
    assert http_client.get(f"/v1/requests/{short}").json()["progress"] == 1.0


def test_the_usage_file_is_a_spreadsheet(http_client):
    accepted = http_client.post("/v1/flux-dev", json={"prompt": "a fox", "steps": 2}).json()
    ended(http_client, accepted["id"])
    text = http_client.get("/v1/usage.csv").text.splitlines()
    assert len(text) == 2
    assert accepted["id"] in text[1]


def test_a_picture_proves_where_it_comes_from(http_client):
    accepted = http_client.post(
        "/v1/flux-dev", json={"prompt": "a fox", "output_format": "png"}
    ).json()
    sample = httpx2.get(ended(http_client, accepted["id"])["result"]["sample"]).content
    report = http_client.post("/v1/verify", content=sample).json()
    assert report["found"]
    assert report["valid"]
    assert report["ours"]
    assert report["model"] == "tiny"
    assert report["recipe"]["prompt"] == "a fox"
    assert not http_client.post("/v1/verify", content=b"nothing").json()["found"]


def test_links_work_for_whom_they_were_signed_and_no_longer(http_client, caller):
    accepted = http_client.post("/v1/flux-dev", json={"prompt": "a fox"}).json()
    sample = ended(http_client, accepted["id"])["result"]["sample"]
    assert httpx2.get(sample).status_code == 200
    for broken in (sample[:-1] + ("0" if sample[-1] != "0" else "1"), sample.split("?")[0],
                   sample.replace("exp=", "exp=9")):  # fmt: skip
        answer = httpx2.get(broken)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "invalid_link"
