"""Whom a server calls for a client, and how that one knows who called."""

import asyncio
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from flux1.errors import RequestError
from flux1.server.webhooks import check_target, signatures


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
