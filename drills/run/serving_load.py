"""Requests at a fixed rate to a callable, as a serving process under load answers them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

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
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="serving-load", daemon=True)

    def answers_of(self, expected: str, timeout_s: float) -> tuple[str, float]:
        """Wait until `expected` answers, and return who answers and since when, in seconds of the monotonic clock."""
        with self._changes:
            self._changes.wait_for(lambda: self._last == expected, timeout_s)
            return self._last, self._since_s

    def _run(self) -> None:
        start_s, n = time.monotonic(), 0
        while not self._stop.is_set():
            now_s = time.monotonic()
            # Requests that were delayed are answered at once, as a queue does.
            while n < (now_s - start_s) * REQUESTS_PER_S:
                self._note(self._answer())
                n += 1
            time.sleep(1 / REQUESTS_PER_S)

    def _note(self, answered_by: str) -> None:
        if answered_by != self._last:
            with self._changes:
                self._last, self._since_s = answered_by, time.monotonic()
                self._changes.notify_all()

    def __enter__(self) -> ServingLoad:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
