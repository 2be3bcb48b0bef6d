"""What a caller may use: requests a minute, requests at once, pictures and megapixels a day."""

import time
from collections import defaultdict
from dataclasses import dataclass, fields
from typing import Any

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from flux1.server.problems import Problem
from flux1.settings import ServerSettings
from flux1.store.keys import Key, KeyLimits
from flux1.store.usage import UsageTotal


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


def _too_many(message: str, code: str, retry_after: float | None) -> Problem:
    kind = "insufficient_quota" if retry_after is None else "rate_limit_error"
    return Problem(429, message, code, kind, retry_after=retry_after)


class Meter:
    """Counts what is asked now. One for each server; called from the event loop only."""

    def __init__(self) -> None:
        self._rates = MovingWindowRateLimiter(MemoryStorage())
        self._requests: defaultdict[str, int] = defaultdict(int)
        self._images: defaultdict[str, int] = defaultdict(int)
        self._megapixels: defaultdict[str, float] = defaultdict(float)

    def hit(self, caller: str, limits: Limits) -> dict[str, str]:
        """Count a request; returns the rate-limit headers, or raises Problem 429 with them."""
        item = RateLimitItemPerMinute(limits.requests_per_minute)
        allowed = self._rates.hit(item, caller)
        window = self._rates.get_window_stats(item, caller)
        reset = max(0.0, window.reset_time - time.time())
        headers = {
            "x-ratelimit-limit-requests": str(limits.requests_per_minute),
            "x-ratelimit-remaining-requests": str(window.remaining),
            "x-ratelimit-reset-requests": f"{reset:.0f}s",
        }
        if allowed:
            return headers
        refused = _too_many(
            f"{limits.requests_per_minute} requests a minute are allowed; wait {reset:.0f} seconds",
            "rate_limit_exceeded",
            reset,
        )
        refused.headers = headers
        raise refused

    def open(
        self, caller: str, limits: Limits, images: int, megapixels: float, today: UsageTotal
    ) -> None:
        """Count a request as open, and its pictures as today's; Problem 429 if that is too much."""
        if self._requests[caller] >= limits.concurrency:
            raise _too_many(
                f"{limits.concurrency} requests may be open at once; wait for one to end",
                "concurrency_limit_exceeded",
                1,
            )
        if today.images + self._images[caller] + images > limits.images_per_day:
            raise _too_many(
                f"{limits.images_per_day} pictures a day are allowed, {today.images} were drawn; "
                "the count starts again at 00:00 UTC",
                "image_quota_exceeded",
                None,
            )
        if today.megapixels + self._megapixels[caller] + megapixels > limits.megapixels_per_day:
            raise _too_many(
                f"{limits.megapixels_per_day:g} megapixels a day are allowed, "
                f"{today.megapixels:.2f} were drawn; the count starts again at 00:00 UTC",
                "megapixel_quota_exceeded",
                None,
            )
        self.resume(caller, images, megapixels)

    def resume(self, caller: str, images: int, megapixels: float) -> None:
        """Count a request as open that was accepted before."""
        self._requests[caller] += 1
        self._images[caller] += images
        self._megapixels[caller] += megapixels

    def close(self, caller: str, images: int, megapixels: float) -> None:
        """The request has ended; what it drew is now in the usage of today."""
        self._requests[caller] -= 1
        self._images[caller] -= images
        self._megapixels[caller] -= megapixels
        if self._requests[caller] == 0:  # the sums of rounded megapixels end with their requests
            del self._requests[caller], self._images[caller], self._megapixels[caller]
