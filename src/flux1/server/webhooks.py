"""Telling a client's server that its picture is there: signed, retried, logged.

Signed as Standard Webhooks (`webhook-id`, `-timestamp`, `-signature`), and as BFL does
it (`x-bfl-signature`: hex HMAC-SHA256 of the body). What waits is in the database, so a restart
loses nothing.
"""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
import structlog
from standardwebhooks import Webhook
from starlette.concurrency import run_in_threadpool

from flux1.errors import RequestError
from flux1.store.open import Store
from flux1.store.webhooks import Delivery

log = structlog.get_logger("flux1.server")
# After each failed attempt; then it is given up and stays in the log.
RETRY_AFTER = tuple(timedelta(seconds=s) for s in (5, 30, 120, 600, 3600, 4 * 3600, 12 * 3600))
TIMEOUT_S = 15.0


async def check_target(url: str, private_allowed: bool) -> None:
    """RequestError for an address that this server must not call for a client."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RequestError("webhook_url", f"{url[:100]!r} is not an http or https address")
    if private_allowed:
        return
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port)
    except (OSError, ValueError, UnicodeError):
        raise RequestError("webhook_url", f"{parts.hostname[:100]!r} cannot be resolved") from None
    for *_, place in found:
        if not ipaddress.ip_address(str(place[0]).partition("%")[0]).is_global:
            raise RequestError(
                "webhook_url",
                f"{parts.hostname!r} is inside this server's network; the operator can allow that "
                "with FLUX1_PRIVATE_WEBHOOKS=true",
            )


def signatures(delivery_id: str, body: bytes, secret: str, now: datetime) -> dict[str, str]:
    """Headers by which a receiver knows that it was this server. A secret that is not base64, as
    Standard Webhooks wants it, is taken as bytes."""
    encoded = secret.removeprefix("whsec_")
    try:
        base64.b64decode(encoded, validate=True)
    except ValueError:
        encoded = base64.b64encode(secret.encode()).decode()
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(encoded).sign(delivery_id, now, body.decode()),
        "x-bfl-signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


class Courier:
    """Delivers what waits, one loop for each server."""

    def __init__(self, store: Store, private_allowed: bool) -> None:
        self._store, self._private_allowed = store, private_allowed
        self._wake = asyncio.Event()

    async def send(self, job_id: str, url: str, payload: str) -> None:
        """Put a message in the outgoing box."""
        await run_in_threadpool(self._store.deliveries.add, job_id, url, payload)
        self._wake.set()

    async def run(self, pause_s: float = 2.0) -> None:
        """Deliver until cancelled."""
        async with httpx2.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False) as client:
            while True:
                self._wake.clear()
                due = await run_in_threadpool(self._store.deliveries.due, datetime.now(UTC), 16)
                await asyncio.gather(*(self._deliver(client, one) for one in due))
                if not due:
                    try:
                        await asyncio.wait_for(self._wake.wait(), pause_s)
                    except TimeoutError:
                        continue

    async def _deliver(self, client: httpx2.AsyncClient, delivery: Delivery) -> None:
        secret = await run_in_threadpool(self._store.jobs.webhook_secret, delivery.job_id)
        now, body = datetime.now(UTC), delivery.payload.encode()
        headers = {"content-type": "application/json", "user-agent": "flux1"}
        if secret:
            headers |= signatures(delivery.id, body, secret, now)
        status: int | None = None
        error: str | None = None
        try:
            await check_target(delivery.url, self._private_allowed)
            answer = await client.post(delivery.url, content=body, headers=headers)
            status = answer.status_code
            if not answer.is_success:
                error = f"answered {status}"
        except (httpx2.HTTPError, httpx2.InvalidURL, RequestError) as failure:
            error = f"{type(failure).__name__}: {failure}"[:300]
        again = None
        if error is not None and delivery.attempts < len(RETRY_AFTER):
            again = now + RETRY_AFTER[delivery.attempts]
        await run_in_threadpool(self._store.deliveries.record, delivery.id, status, error, again)
        log.info("webhook", delivery=delivery.id, job=delivery.job_id, status=status, error=error)


def payload_of(result: Any, now: datetime) -> dict[str, Any]:
    """A result in BFL's words, with the time at which it was told."""
    return {**result.model_dump(exclude_none=True), "timestamp": now.isoformat()}
