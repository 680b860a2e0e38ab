"""The circuit breaker of an endpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from barograph.shadow.breaker import BreakerState, CircuitBreaker

from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode

T = TypeVar("T")


class EndpointBreaker:
    """Ends calls at once while an endpoint fails. Several threads may share it."""

    def __init__(
        self,
        failure_share: float = 0.5,
        n_calls: int = 20,
        pause_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Configure the breaker.

        Args:
            failure_share: it opens if at least this share of the latest requests failed.
            n_calls: how many requests these are.
            pause_s: seconds from its opening to one trial.
            clock: seconds that never go back.
        """
        self._breaker = CircuitBreaker(failure_share, n_calls, pause_s)
        self._pause_s, self._clock = pause_s, clock
        self._lock = threading.Lock()

    @property
    def state(self) -> BreakerState:
        """Whether it lets requests pass."""
        with self._lock:
            self._breaker.end_pause(self._clock())
            return self._breaker.state

    def call(self, operation: Callable[[], T]) -> T:
        """Return the result of an operation.

        Raises:
            JudgeError: the operation's own error, or the breaker is open.
        """
        with self._lock:
            self._breaker.end_pause(self._clock())
            if not self._breaker.allows:
                raise JudgeError(
                    JudgeErrorCode.BREAKER,
                    f"The endpoint failed too often; no request is sent for up to {self._pause_s:g} s.",
                )
            is_trial = self._breaker.admit()
        has_failed = True
        try:
            result = operation()
            has_failed = False
        except JudgeError as error:
            has_failed = error.is_of_endpoint
            raise
        finally:
            with self._lock:
                self._breaker.record(failed=has_failed, is_trial=is_trial, now_s=self._clock())
        return result
