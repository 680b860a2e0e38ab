"""Requests at a fixed rate to a callable, as a serving process under load answers them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from barograph_server.streams.runtime.periodic import Periodic

REQUESTS_PER_S = 1_000


class ServingLoad:
    """Answers requests in a thread while this context manager is open."""

    def __init__(self, answer: Callable[[], str]) -> None:
        """Describe the load.

        Args:
            answer: answers one request, and returns who answered.
        """
        self._answer = answer
        self._changes = threading.Condition()
        self._last, self._since_s = "", 0.0
        self._begin_s, self._requests = 0.0, 0
        self._load = Periodic("serving-load", 1 / REQUESTS_PER_S, self._answer_due)

    def answers_of(self, expected: str, timeout_s: float) -> tuple[str, float]:
        """Wait until `expected` answers, and return who answers and since when, in seconds of the monotonic clock."""
        with self._changes:
            self._changes.wait_for(lambda: self._last == expected, timeout_s)
            return self._last, self._since_s

    def _answer_due(self) -> None:
        # Requests that were delayed are answered at once, as a queue does.
        due = (time.monotonic() - self._begin_s) * REQUESTS_PER_S
        while self._requests < due:
            self._note(self._answer())
            self._requests += 1

    def _note(self, answered_by: str) -> None:
        if answered_by != self._last:
            with self._changes:
                self._last, self._since_s = answered_by, time.monotonic()
                self._changes.notify_all()

    def __enter__(self) -> ServingLoad:
        self._begin_s = time.monotonic()
        self._load.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._load.stop(None)
