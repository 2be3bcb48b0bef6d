"""Whom a server calls for a client, and how that one knows who called."""

import asyncio
import hashlib
import hmac
import socket
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from flux1.errors import RequestError
from flux1.server.targets import check_target, is_outside
from flux1.server.webhooks import Courier, signatures
from flux1.settings import ServerSettings
from flux1.store.open import open_store
from service import PASSWORD
from store.samples import new_request


def test_signatures_take_any_secret_and_change_with_the_body():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    one = signatures("msg_1", b"{}", "not base64!", now)
    other = signatures("msg_1", b"{ }", "not base64!", now)
    assert one["webhook-signature"] != other["webhook-signature"]
    assert one["x-bfl-signature"] == hmac.new(b"not base64!", b"{}", hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x", "http://localhost:8000", "http://[::1]/", "http://10.0.0.1/",
            "http://169.254.169.254/latest", "http://0.0.0.0/", "ftp://example.com", "http://"],
)  # fmt: skip
def test_a_servers_own_network_is_not_called(url):
    with pytest.raises(RequestError, match="webhook_url"):
        asyncio.run(check_target(url, private_allowed=False))


@pytest.mark.parametrize("url", ["http://[", "http://a:99999/", "https://", "file:///etc/passwd"])
def test_what_is_no_address_is_refused_by_name(url):
    with pytest.raises(RequestError, match="webhook_url"):
        asyncio.run(check_target(url, private_allowed=True))


@pytest.mark.parametrize("secret", ["whsec_", "x", "whsec_c2VjcmV0", "not base64!"])
def test_any_secret_signs(secret):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = signatures("msg_1", b"{}", secret, now)
    assert made["webhook-signature"].startswith("v1,")
    if secret == "whsec_c2VjcmV0":
        assert made["webhook-signature"] == Webhook(secret).sign("msg_1", now, "{}")


@pytest.mark.parametrize(
    "place",
    [
        "2002:7f00:1::", "64:ff9b:1::7f00:1", "64:ff9b::7f00:1", "::127.0.0.1", "::ffff:10.0.0.1",
        "2001:0:7f00:1::", "fe80::5efe:7f00:1", "2606:4700::5efe:7f00:1", "2606::200:5efe:a00:1",
        "fc00::1", "ff02::1", "100.64.0.1", "192.0.0.1", "224.0.0.1", "240.0.0.1", "::",
    ],
)  # fmt: skip
def test_an_inner_address_is_known_in_whatever_it_is_wrapped(place):
    assert not is_outside(place)


@pytest.mark.parametrize("place", ["1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e"])
def test_the_internet_is_outside(place):
    assert is_outside(place)


@pytest.mark.parametrize("port", [22, 25, 445, 2375, 5432, 6379, 9200, 11211, 27017])
def test_other_services_are_not_spoken_to(port):
    with pytest.raises(RequestError, match=f"port {port} is that of another service"):
        asyncio.run(check_target(f"http://1.1.1.1:{port}/", private_allowed=True))


def accepted(store, email: str, url: str, count: int) -> None:
    """Requests of an account of its own that have ended, with messages that wait."""
    account = store.accounts.register(email, PASSWORD)
    for number in range(count):
        id = f"req_{email[0]}{number}"
        store.requests.accept(new_request(account.id, id, webhook_url=url))
        store.requests.fail(id, "failed", "engine_failed", "no")


@pytest.mark.parametrize("hosts", [1, 20], ids=["one silent host", "many silent hosts"])
def test_silent_receivers_hold_up_nobody_else(tmp_path, hosts):
    """Of two accounts, the one whose receivers never answer was there first."""
    store = open_store(ServerSettings(data=tmp_path))
    silent = [socket.create_server(("127.0.0.1", 0), backlog=128) for _ in range(hosts)]
    for number, one in enumerate(silent):
        url = f"http://127.0.0.1:{one.getsockname()[1]}/"
        accepted(store, f"{chr(97 + number)}@example.com", url, 100 // hosts)

    async def deliver() -> bytes:
        came: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def answer(reader, writer):
            came.set_result(await reader.readline())
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            accepted(store, "z@example.com", url, 1)
            courier = asyncio.create_task(Courier(store, True, lambda stored: "{}").run())
            said = await asyncio.wait_for(came, 10)
            courier.cancel()
            await asyncio.gather(courier, return_exceptions=True)
            return said

    assert asyncio.run(deliver()).startswith(b"POST / HTTP/1.1")
    for one in silent:
        one.close()
    assert [delivery.log for delivery in store.deliveries.for_request("req_a0")] == [()]
    store.close()
