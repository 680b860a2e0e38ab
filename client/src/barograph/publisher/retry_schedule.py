"""Retry times for a thread that must not block while it waits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable


class RetrySchedule:
    """Decides when to retry after failures, with exponential, bounded and jittered delays.

    Each delay is drawn uniformly from the upper half of its nominal value, so that processes that failed together do
    not retry together. The caller polls `is_due`; nothing here sleeps.
    """

    def __init__(
        self,
        first_s: float,
        max_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Configure the delays.

        Args:
            max_s: The largest nominal delay in seconds; until then each delay is twice the one before.
        """
        self._first_s, self._max_s = first_s, max_s
        self._clock, self._uniform = clock, uniform
        self._nominal_s, self._next_s = first_s, float("-inf")

    @property
    def is_due(self) -> bool:
        """Whether an attempt may be made now."""
        return self._clock() >= self._next_s

    def record_failure(self) -> float:
        """Schedule the next attempt after a failed one, and return the delay until then in seconds."""
        delay_s = self._uniform(self._nominal_s / 2, self._nominal_s)
        self._next_s = self._clock() + delay_s
        self._nominal_s = min(2 * self._nominal_s, self._max_s)
        return delay_s

    def reset(self) -> None:
        """Forget earlier failures: the next attempt is due at once, and the next delay is the first one."""
        self._nominal_s, self._next_s = self._first_s, float("-inf")
