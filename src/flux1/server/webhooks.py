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
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import structlog
from standardwebhooks import Webhook
from starlette.concurrency import run_in_threadpool

from flux1.errors import StoreError
from flux1.server.targets import check_target
from flux1.store.open import Store
from flux1.store.requests import StoredRequest
from flux1.store.webhooks import Delivery

log = structlog.get_logger("flux1.server")
# After each failed attempt; then it is given up and stays in the log.
RETRY_AFTER = tuple(timedelta(seconds=s) for s in (5, 30, 120, 600, 3600, 4 * 3600, 12 * 3600))
TIMEOUT_S = 15.0
AT_ONCE, FOR_ONE = 64, 4  # messages under way: everybody's, and those of one account or to one host


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
    """Delivers what waits, one loop for each server. `message` says what a request's webhook is
    told: asked at each attempt, so that the links in it work."""

    def __init__(
        self, store: Store, private_allowed: bool, message: Callable[[StoredRequest], str]
    ) -> None:
        self._store, self._private_allowed, self._message = store, private_allowed, message
        self._wake = asyncio.Event()
        self._under_way: dict[str, Delivery] = {}

    def wake(self) -> None:
        """Something may wait."""
        self._wake.set()

    async def run(self, pause_s: float = 2.0) -> None:
        """Deliver until cancelled. Slow receivers, however many, hold up their own account."""
        client = httpx2.AsyncClient(
            timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, verify=True
        )
        async with client, asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                for delivery in await self._due():
                    self._under_way[delivery.id] = delivery
                    tasks.create_task(self._deliver(client, delivery))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause_s)

    async def _due(self) -> list[Delivery]:
        """Return what may go out now: a few of each account and to each host."""
        accounts = Counter(one.account_id for one in self._under_way.values())
        hosts = Counter(one.host for one in self._under_way.values())
        full = [account for account, count in accounts.items() if count >= FOR_ONE]
        find, now = self._store.deliveries.due, datetime.now(UTC)
        try:
            due = await run_in_threadpool(find, now, 4 * AT_ONCE, FOR_ONE, full, self._under_way)
        except StoreError:
            log.exception("waiting webhooks could not be read")
            return []
        chosen: list[Delivery] = []
        for one in due:
            fits = max(accounts[one.account_id], hosts[one.host]) < FOR_ONE
            if fits and len(self._under_way) + len(chosen) < AT_ONCE:
                accounts[one.account_id] += 1
                hosts[one.host] += 1
                chosen.append(one)
        return chosen

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
            self.wake()  # for whoever waits for its place
        except StoreError:
            log.exception("a webhook's attempt could not be noted", delivery=delivery.id)
        finally:
            del self._under_way[delivery.id]

    async def _post(self, client: httpx2.AsyncClient, delivery: Delivery, now: datetime) -> int:
        """Send a message to the address that was checked; the status of the answer, whose body is
        not read."""
        stored = await run_in_threadpool(self._store.requests.get, delivery.job_id)
        secret = await run_in_threadpool(self._store.requests.webhook_secret, delivery.job_id)
        assert stored is not None  # deliveries have a request
        body = (await run_in_threadpool(self._message, stored)).encode()
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
