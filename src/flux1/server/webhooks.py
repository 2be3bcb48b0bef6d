"""Telling a client's server that its picture is there: signed, retried, logged.

Signed as Standard Webhooks (`webhook-id`, `-timestamp`, `-signature`), and as BFL does
it (`x-bfl-signature`: hex HMAC-SHA256 of the body). What waits is in the database, so a restart
loses nothing.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
import structlog
from standardwebhooks import Webhook
from starlette.concurrency import run_in_threadpool

from flux1.errors import RequestError, StoreError
from flux1.store.jobs import StoredJob
from flux1.store.open import Store
from flux1.store.webhooks import Delivery

log = structlog.get_logger("flux1.server")
# After each failed attempt; then it is given up and stays in the log.
RETRY_AFTER = tuple(timedelta(seconds=s) for s in (5, 30, 120, 600, 3600, 4 * 3600, 12 * 3600))
TIMEOUT_S = 15.0
AT_ONCE = 16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


async def check_target(url: str, private_allowed: bool) -> str:
    """The network address behind a URL that this server may call for a client (RequestError for
    any other). Whoever calls it must call this address: a name may mean another one later."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError
    except ValueError:
        raise RequestError(
            "webhook_url", f"{url[:100]!r} is not an http or https address"
        ) from None
    port = port or (443 if parts.scheme == "https" else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise RequestError("webhook_url", f"{host[:100]!r} cannot be resolved") from None
    places = [str(place[0]).partition("%")[0] for *_, place in found]
    if not private_allowed and not all(map(_outside, places)):
        raise RequestError(
            "webhook_url",
            f"{host[:100]!r} is inside this server's network; the operator can allow that "
            "with FLUX1_PRIVATE_WEBHOOKS=true",
        )
    return places[0]


def _outside(place: str) -> bool:
    address = ipaddress.ip_address(place)
    translated = address.version == 6 and address in _NAT64
    return address.is_global and not address.is_multicast and not translated


def signatures(delivery_id: str, body: bytes, secret: str, now: datetime) -> dict[str, str]:
    """Headers by which a receiver knows that it was this server. A secret that is not base64, as
    Standard Webhooks wants it, is taken as bytes."""
    encoded = secret.removeprefix("whsec_")
    try:
        usable = bool(base64.b64decode(encoded, validate=True))
    except ValueError:
        usable = False
    if not usable:
        encoded = base64.b64encode(secret.encode()).decode()
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(encoded).sign(delivery_id, now, body.decode()),
        "x-bfl-signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


class Courier:
    """Delivers what waits, one loop for each server. `message` says what a job's webhook is told:
    asked at each attempt, so that the links in it work."""

    def __init__(
        self, store: Store, private_allowed: bool, message: Callable[[StoredJob], str]
    ) -> None:
        self._store, self._private_allowed, self._message = store, private_allowed, message
        self._wake = asyncio.Event()
        self._under_way: set[str] = set()

    def wake(self) -> None:
        """Something may wait."""
        self._wake.set()

    async def run(self, pause_s: float = 2.0) -> None:
        """Deliver until cancelled. One slow receiver holds up nobody else."""
        client = httpx2.AsyncClient(
            timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, verify=True
        )
        async with client, asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                for delivery in await self._due():
                    self._under_way.add(delivery.id)
                    tasks.create_task(self._deliver(client, delivery))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause_s)

    async def _due(self) -> list[Delivery]:
        free = AT_ONCE - len(self._under_way)
        try:
            due = await run_in_threadpool(self._store.deliveries.due, datetime.now(UTC), AT_ONCE)
        except StoreError:
            log.exception("waiting webhooks could not be read")
            return []
        return [one for one in due if one.id not in self._under_way][:free]

    async def _deliver(self, client: httpx2.AsyncClient, delivery: Delivery) -> None:
        now, status, error = datetime.now(UTC), None, None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status = await self._post(client, delivery, now)
            if not 200 <= status < 300:
                error = f"answered {status}"
        except Exception as failure:  # whatever a stranger's server provokes is its own failure
            error = f"{type(failure).__name__}: {failure}"[:300]
        again = None
        if error is not None and delivery.attempts < len(RETRY_AFTER):
            again = now + RETRY_AFTER[delivery.attempts]
        log.info("webhook", delivery=delivery.id, job=delivery.job_id, status=status, error=error)
        try:
            record = self._store.deliveries.record
            await run_in_threadpool(record, delivery.id, status, error, again)
        except StoreError:
            log.exception("a webhook's attempt could not be noted", delivery=delivery.id)
        finally:
            self._under_way.discard(delivery.id)
            if error is None:
                self.wake()

    async def _post(self, client: httpx2.AsyncClient, delivery: Delivery, now: datetime) -> int:
        """Send a message to the address that was checked; the status of the answer, whose body is
        not read."""
        job = await run_in_threadpool(self._store.jobs.get, delivery.job_id)
        secret = await run_in_threadpool(self._store.jobs.webhook_secret, delivery.job_id)
        assert job is not None  # deliveries have a job
        body = (await run_in_threadpool(self._message, job)).encode()
        place = await check_target(delivery.url, self._private_allowed)
        url = httpx2.URL(delivery.url)
        headers = {
            "content-type": "application/json",
            "user-agent": "flux1",
            "host": url.netloc.decode("ascii"),
            **(signatures(delivery.id, body, secret, now) if secret else {}),
        }
        async with client.stream(
            "POST",
            url.copy_with(host=place),
            content=body,
            headers=headers,
            extensions={"sni_hostname": url.host},
        ) as answer:
            return int(answer.status_code)


def payload_of(result: Any, now: datetime) -> dict[str, Any]:
    """A result in BFL's words, with the time at which it was told."""
    return {**result.model_dump(exclude_none=True), "timestamp": now.isoformat()}
