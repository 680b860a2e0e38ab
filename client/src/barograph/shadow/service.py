"""The threads and processes of a shadow over the life of the serving process: start, fork, close, exit."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from barograph.publisher import lifetime
from barograph.shadow.answer import error_name, failed_call
from barograph.shadow.request import ShadowRequest, Workers
from barograph.shadow.request_tracker import RequestTracker

TIMER_MAX_S = 1.0
"""Longest sleep of the timer, so that the breaker's pause ends in time (s)."""

_LOG = logging.getLogger("barograph")


class ShadowService:
    """Runs the workers and the timer of a shadow. Both start at the first request of the process."""

    def __init__(
        self, make_tracker: Callable[[], RequestTracker], start_workers: Callable[[RequestTracker], Workers]
    ) -> None:
        """Prepare the service; `make_tracker` is called again in a forked child."""
        self._make_tracker, self._start_workers = make_tracker, start_workers
        self._is_closed = False
        self._reset()
        lifetime.register(self)

    def _reset(self) -> None:
        self.tracker = self._make_tracker()
        # An RLock, for `close` in a signal handler.
        self._start_lock = threading.RLock()
        self._stop = threading.Event()
        self._workers: Workers | None = None

    def submit(self, request: ShadowRequest, features: Any) -> None:
        """Queue a request if the tracker admits it."""
        tracker = self.tracker
        if tracker.admit(request, features):
            try:
                (self._workers or self._start()).put(request)
            except Exception as problem:  # the system has no more threads, or the shadow was closed at this moment
                tracker.finish(request, failed_call(error_name(problem)))

    def _start(self) -> Workers:
        with self._start_lock:
            if self._is_closed:
                raise RuntimeError("the shadow is closed")
            if self._workers is None:
                workers = self._start_workers(self.tracker)
                threading.Thread(
                    target=self._run_timer, args=(self._stop,), name="barograph-shadow-timer", daemon=True
                ).start()
                # Before the publisher, whose priority is 0.
                lifetime.close_at_exit(self, priority=1)
                self._workers = workers
            return self._workers

    def _run_timer(self, stop: threading.Event) -> None:
        delay_s = 0.0
        while not stop.wait(delay_s):
            try:
                self.expire()
                delay_s = min(TIMER_MAX_S, self.tracker.seconds_to_deadline())
            except Exception:
                delay_s = TIMER_MAX_S
                _LOG.exception("the timer of a shadow continues after an error")

    def expire(self) -> None:
        """Settle the requests whose deadline has passed, and end their calls if the workers can."""
        self._abandon(self.tracker.expire())

    def _abandon(self, requests: list[ShadowRequest]) -> None:
        workers = self._workers
        if workers is not None:
            for request in requests:
                with contextlib.suppress(Exception):
                    workers.abandon(request)

    def close(self, timeout_s: float) -> int:
        """Wait for pending requests, settle the others, end the workers, and return how many were left. Idempotent."""
        if self._is_closed:
            return 0
        self._is_closed = True
        left = self.tracker.close(timeout_s)
        self._stop.set()
        self._abandon([request for request in left if request.is_abandoned])
        with self._start_lock:
            if self._workers is not None:
                self._workers.stop()
        lifetime.unregister(self)
        return len(left)

    def after_fork(self) -> None:
        """In a forked child: leave the requests to the parent, and start over at the next request."""
        self._reset()
