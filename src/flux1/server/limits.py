"""Limits on a caller's use: requests a minute, requests at once, pictures and megapixels a day."""

import time
from dataclasses import dataclass, fields
from typing import Any

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from flux1.server.problems import Problem
from flux1.settings import ServerSettings
from flux1.store.keys import Key, KeyLimits
from flux1.store.quotas import Quota


@dataclass(frozen=True)
class Limits:
    """A key's own, or the server's where it has none or asks for more."""

    requests_per_minute: int
    concurrency: int
    images_per_day: int
    megapixels_per_day: float
    tolerance: int

    @classmethod
    def of(cls, settings: ServerSettings, key: Key | None) -> "Limits":
        own = KeyLimits() if key is None else key.limits

        def chosen(name: str) -> Any:
            most, value = getattr(settings, name), getattr(own, name)
            return most if value is None else min(most, value)

        return cls(**{field.name: chosen(field.name) for field in fields(cls)})

    def quota(self, key: Key | None = None) -> Quota:
        """Return what these limits let a key, or its account, have open and draw in a day."""
        id = None if key is None else key.id
        return Quota(id, self.concurrency, self.images_per_day, self.megapixels_per_day)


class Rates:
    """Counts requests a minute. One for each server; called from the event loop only."""

    def __init__(self) -> None:
        self._windows = MovingWindowRateLimiter(MemoryStorage())

    def hit(self, caller: str, requests_per_minute: int) -> dict[str, str]:
        """Count a request; returns the rate-limit headers, or raises Problem 429 with them."""
        item = RateLimitItemPerMinute(requests_per_minute)
        allowed = self._windows.hit(item, caller)
        window = self._windows.get_window_stats(item, caller)
        reset = max(0.0, window.reset_time - time.time())
        headers = {
            "x-ratelimit-limit-requests": str(requests_per_minute),
            "x-ratelimit-remaining-requests": str(window.remaining),
            "x-ratelimit-reset-requests": f"{reset:.0f}s",
        }
        if allowed:
            return headers
        raise Problem(
            429, f"{requests_per_minute} requests a minute are allowed; wait {reset:.0f} seconds",
            "rate_limit_exceeded", "rate_limit_error", retry_after=reset, headers=headers,
        )  # fmt: skip
