"""The circuit breaker: no calls to a candidate that fails too often."""

from __future__ import annotations

from collections import deque
from typing import Literal

BreakerState = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """Opens after too many failures among the latest calls, and closes after one successful trial.

    It is not safe for several threads: the caller holds a lock.
    """

    def __init__(self, failure_share: float, n_calls: int, pause_s: float) -> None:
        """Configure the breaker, which starts closed.

        Args:
            failure_share: It opens if at least this share of the latest calls failed; in (0, 1].
            n_calls: How many calls these are. It does not open before as many calls have ended.
            pause_s: How long it stays open before a trial (s).
        """
        self.state: BreakerState = "closed"
        self._failure_share, self._pause_s = failure_share, pause_s
        self._failures: deque[bool] = deque(maxlen=n_calls)
        self._opened_s = 0.0
        self._has_trial = False

    @property
    def allows(self) -> bool:
        """Whether a call may start: always while closed, one trial while half-open, never while open."""
        return self.state == "closed" or (self.state == "half-open" and not self._has_trial)

    def admit(self) -> bool:
        self._has_trial = self.state == "half-open"
        return self._has_trial

    def record(self, *, failed: bool, is_trial: bool, now_s: float) -> None:
        """Count the end of a call. Unless the breaker is closed, only the trial counts."""
        if self.state == "closed":
            self._failures.append(failed)
            is_full = len(self._failures) == self._failures.maxlen
            if is_full and sum(self._failures) >= self._failure_share * len(self._failures):
                self.open(now_s)
        elif self.state == "half-open" and is_trial:
            if failed:
                self.open(now_s)
            else:
                self.state = "closed"

    def open(self, now_s: float) -> None:
        """Open the breaker, and start its pause and its count over."""
        self.state = "open"
        self._opened_s = now_s
        self._has_trial = False
        self._failures.clear()

    def end_pause(self, now_s: float) -> None:
        """Become half-open if the breaker has been open for its pause."""
        if self.state == "open" and now_s - self._opened_s >= self._pause_s:
            self.state = "half-open"
