"""Calls a function about changes of a model's state, on a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from barograph.guard.health import HealthReason, HealthState

_LOG = logging.getLogger("barograph.guard")


@dataclass(frozen=True, slots=True)
class HealthChange:
    """What a guard reported from one moment on, until the next change."""

    model: str
    state: HealthState
    uses_fallback: bool
    reasons: tuple[HealthReason, ...]


class ChangeNotifier:
    """Passes changes to one function, in order and one at a time.

    A function that blocks delays its own changes only: `notify` never waits.
    """

    def __init__(self, callback: Callable[[HealthChange], object]) -> None:
        """Start the thread.

        Args:
            callback: The function. Its exceptions are logged.
        """
        self._callback = callback
        self._start()

    def notify(self, change: HealthChange) -> None:
        """Queue a change, without waiting."""
        self._changes.put(change)

    def request_stop(self) -> None:
        """Let the thread end after the changes that are queued."""
        self._changes.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread, except on that thread."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def restart_after_fork(self) -> None:
        """In a forked child: start over without the queued changes, which the parent passes on."""
        self._start()

    def _start(self) -> None:
        # A fork may copy a queue whose lock another thread holds, so a child needs a new one.
        self._changes: queue.SimpleQueue[HealthChange | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, args=(self._changes,), name="barograph-guard-changes", daemon=True
        )
        self._thread.start()

    def _run(self, changes: queue.SimpleQueue[HealthChange | None]) -> None:
        # A function that forks continues in the child, where another thread serves another queue.
        while changes is self._changes and (change := changes.get()) is not None:
            try:
                self._callback(change)
            except Exception:
                _LOG.exception("a callback on the state of model %s failed", change.model)
