"""Retries of requests to an endpoint, within a time limit for each call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from barograph.shadow.breaker import BreakerState, CircuitBreaker

from barograph_server.streams.evaluator.judges.chat import ChatRequest, Completion
from barograph_server.streams.evaluator.judges.endpoint import ChatEndpoint
from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode
from barograph_server.streams.runtime.backoff import Backoff, RetryInterrupted


@dataclass(frozen=True, slots=True)
class CallRetries:
    """How often a call is repeated."""

    max_attempts: int = 4
    limit_s: float = 120.0
    """Seconds for all attempts and pauses of a call together."""
    first_pause_s: float = 0.5
    """Nominal first pause; each is twice the one before."""
    max_pause_s: float = 20.0
    """Largest nominal pause. An endpoint may ask for a longer one with `Retry-After`."""


class RetryingEndpoint:
    """An endpoint with retries and a circuit breaker. Several threads and judges may share it."""

    def __init__(
        self,
        endpoint: ChatEndpoint,
        retries: CallRetries = CallRetries(),
        breaker: EndpointBreaker | None = None,
        *,
        sleep: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Configure the calls.

        Args:
            breaker: the breaker of the endpoint; None for one with default settings.
            sleep: waits for a number of seconds and returns whether it was interrupted: pass `stop.wait` to end calls
                when `stop` is set. By default nothing interrupts it.
        """
        self._endpoint, self._retries = endpoint, retries
        self.breaker = breaker or EndpointBreaker()
        self._sleep, self._clock = sleep or threading.Event().wait, clock

    @property
    def model(self) -> str:
        return self._endpoint.model

    def close(self) -> None:
        """Close the connections of the endpoint."""
        self._endpoint.close()

    def complete(self, request: ChatRequest, limit_s: float | None = None) -> Completion:
        """Send a request until it succeeds or a limit is reached.

        Args:
            limit_s: seconds for all attempts and pauses, if that is less than the limit of the settings.

        Raises:
            JudgeError: the last failure; `judge-breaker` if no request was sent.
        """
        own_limit_s = self._retries.limit_s
        end_s = self._clock() + (own_limit_s if limit_s is None else min(limit_s, own_limit_s))
        failures: list[JudgeError] = []
        is_over_limit = False

        def attempt() -> Completion:
            try:
                return self.breaker.call(lambda: self._endpoint.complete(request, max(end_s - self._clock(), 0.001)))
            except JudgeError as error:
                if error.code is not JudgeErrorCode.BREAKER:
                    failures.append(error)
                raise

        def sleep(delay_s: float) -> bool:
            nonlocal is_over_limit
            pause_s = max(delay_s, failures[-1].retry_after_s)
            is_over_limit = self._clock() + pause_s >= end_s
            return is_over_limit or self._sleep(pause_s)

        backoff = Backoff(
            self._retries.first_pause_s, self._retries.max_pause_s, max_attempts=self._retries.max_attempts, sleep=sleep
        )
        try:
            completion = backoff.retry(attempt, _is_transient)
        except JudgeError as error:
            last = failures[-1] if failures else error
            last.attempts = len(failures)
            raise last from None
        except RetryInterrupted:
            if not is_over_limit:
                raise
            failures[-1].attempts = len(failures)
            raise failures[-1] from None
        return replace(completion, attempts=len(failures) + 1)


def _is_transient(error: Exception) -> bool:
    return isinstance(error, JudgeError) and error.is_transient


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
