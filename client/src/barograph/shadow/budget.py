"""The budget of requests per minute, as a token bucket."""

from __future__ import annotations


class RequestBudget:
    """A token bucket that holds the tokens of one second, but at least one.

    It is not safe for several threads: the caller holds a lock.
    """

    def __init__(self, max_per_minute: float, now_s: float) -> None:
        """Fill the bucket.

        Args:
            max_per_minute: Tokens that are added per minute.
        """
        self._per_s = max_per_minute / 60
        self._capacity = max(1.0, self._per_s)
        self._tokens, self._filled_s = self._capacity, now_s

    def take(self, now_s: float) -> bool:
        """Take one token, and return whether there was one."""
        self._tokens = min(self._capacity, self._tokens + (now_s - self._filled_s) * self._per_s)
        self._filled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
