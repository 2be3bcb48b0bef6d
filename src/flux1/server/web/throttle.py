"""Limits on how often a password may be tried, and on how many are hashed at once."""

import math
import time

from anyio import CapacityLimiter
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

PER_EMAIL = RateLimitItemPerMinute(10, multiples=15)
PER_ADDRESS = RateLimitItemPerMinute(100, multiples=15)
SIGN_UPS_PER_ADDRESS = RateLimitItemPerHour(30)


class Throttle:
    """Counts attempts before they are made, so that many at once are counted as well.

    `hashing` bounds the memory that password hashes take: 64 MiB each.
    """

    def __init__(self) -> None:
        self._attempts = MovingWindowRateLimiter(MemoryStorage())
        self.hashing = CapacityLimiter(2)

    def log_in(self, address: str, email: str) -> int:
        """Count an attempt. 0, or the minutes to wait. An e-mail's are counted for each address by
        itself: whoever tries another one's password locks out nobody else."""
        return self._hit(PER_EMAIL, f"{address} {email}") or self._hit(PER_ADDRESS, address)

    def forget(self, address: str, email: str) -> None:
        """The right password was given."""
        self._attempts.clear(PER_EMAIL, f"{address} {email}")

    def sign_up(self, address: str) -> int:
        """Count an attempt. 0, or the minutes to wait."""
        return self._hit(SIGN_UPS_PER_ADDRESS, f"sign up {address}")

    def _hit(self, item: RateLimitItem, who: str) -> int:
        if self._attempts.hit(item, who):
            return 0
        reset = self._attempts.get_window_stats(item, who).reset_time
        return max(1, math.ceil((reset - time.time()) / 60))
