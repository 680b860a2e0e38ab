"""Retries with exponential, jittered delays."""

import random
import threading
import time
from collections.abc import Callable
from typing import Literal, TypeVar

from barograph.publisher.retry_schedule import RetrySchedule

from barograph_server.streams.runtime.metrics_report import Report

T = TypeVar("T")

Retriable = type[Exception] | Callable[[Exception], bool]
"""Which errors are retried: those of one class, or those that a function accepts."""


class RetryInterrupted(Exception):
    """A stop request ended the retries; the operation has not succeeded."""


class Backoff:
    """Retries an operation until it succeeds, with exponentially growing delays.

    The publisher's `RetrySchedule` draws the delays. While retries last, the report counts each of them and the
    heartbeat is blocked, so that the watchdog does not end a processor that waits for a server.
    """

    def __init__(
        self,
        first_s: float,
        max_s: float,
        *,
        report: Report | None = None,
        sink: Literal["kafka", "warehouse"] = "warehouse",
        max_attempts: int | None = None,
        max_elapsed_s: float | None = None,
        sleep: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Configure the delays and the bounds.

        Args:
            max_s: the largest nominal delay; each delay is twice the one before until then.
            report: counts the retries and owns the heartbeat; None where nobody watches the caller yet.
            sink: the server that fails, as the metric of retries names it.
            max_attempts: gives up after this many attempts; None for no such bound.
            max_elapsed_s: gives up after this long, attempts and delays together; None for no such bound.
            sleep: waits for a number of seconds and returns whether it was interrupted, like `threading.Event.wait`:
                pass `stop.wait` to stop retrying when `stop` is set. By default nothing interrupts it.
        """
        self._first_s, self._max_s = first_s, max_s
        self._report, self._sink = report, sink
        self._max_attempts, self._max_elapsed_s = max_attempts, max_elapsed_s
        self._sleep = sleep or threading.Event().wait
        self._clock, self._uniform = clock, uniform

    def retry(
        self,
        operation: Callable[[], T],
        retriable: Retriable,
        *,
        blocked_on: str = "",
        on_retry: Callable[[Exception, float], object] = lambda error, delay_s: None,
    ) -> T:
        """Call an operation until it succeeds, and return its result.

        Args:
            operation: it is called again from its beginning.
            retriable: the errors that are retried; all others pass through.
            blocked_on: a sentence for the health endpoint that names the server and what waits for it.
            on_retry: called before each delay with the error and the delay in seconds.

        Raises:
            Exception: the operation's own error, once it is not retriable or a bound is reached.
        """
        attempts, began_s = 0, self._clock()
        schedule = RetrySchedule(self._first_s, self._max_s, clock=self._clock, uniform=self._uniform)
        try:
            while True:
                try:
                    return operation()
                except Exception as error:
                    attempts += 1
                    matches = isinstance(error, retriable) if isinstance(retriable, type) else retriable(error)
                    if not matches or self._exhausted(attempts, began_s):
                        raise
                    failure = error
                delay_s = schedule.record_failure()
                if self._report is not None:
                    self._report.count_retry(self._sink)
                    self._report.heartbeat.blocked(blocked_on)
                on_retry(failure, delay_s)
                if self._sleep(delay_s):
                    raise RetryInterrupted from failure
        finally:
            if self._report is not None:
                self._report.heartbeat.unblocked()

    def _exhausted(self, attempts: int, began_s: float) -> bool:
        if self._max_attempts is not None and attempts >= self._max_attempts:
            return True
        return self._max_elapsed_s is not None and self._clock() - began_s >= self._max_elapsed_s
