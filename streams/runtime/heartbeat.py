"""The heartbeat of a processor's loop, and what blocks it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Blockage:
    """The server that blocks a processor, and since when."""

    reason: str
    since_s: float


class Heartbeat:
    """Written by the processor's threads, read by the watchdog's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start unblocked, before the first beat.

        Args:
            clock: seconds that never go back.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._beat_s = self._worked_s = clock()
        self._started = False
        self._blockage: Blockage | None = None
        self._stopping = False

    @property
    def started(self) -> bool:
        """Whether the loop has completed an iteration."""
        return self._started

    @property
    def stopping(self) -> bool:
        """Whether the process has been requested to stop."""
        return self._stopping

    @property
    def blockage(self) -> Blockage | None:
        """What the processor waits for; None while it works."""
        return self._blockage

    def beat(self) -> None:
        """Record an iteration of the loop."""
        self._beat_s = self._clock()
        self._started = True

    def record_work(self) -> None:
        """Record that a unit of work is done: a message that takes minutes consists of many."""
        self._worked_s = self._clock()

    def idle_s(self) -> float:
        """Return the seconds since the last unit of work, or since the start."""
        return max(0.0, self._clock() - self._worked_s)

    def blocked(self, reason: str) -> None:
        """Record that the processor waits for a server, which a restart would not change.

        Repeated calls update the reason and keep the start.
        """
        with self._lock:
            since_s = self._blockage.since_s if self._blockage else self._clock()
            self._blockage = Blockage(reason, since_s)

    def unblocked(self) -> None:
        """Record that the wait is over."""
        with self._lock:
            self._blockage = None

    def mark_stopping(self) -> None:
        """Record that the process has been requested to stop."""
        self._stopping = True

    def age_s(self) -> float:
        """Return the seconds since the last iteration, or since the start."""
        return max(0.0, self._clock() - self._beat_s)

    def blocked_s(self) -> float:
        """Return for how many seconds the processor has been blocked; 0 while it works."""
        blockage = self._blockage
        return max(0.0, self._clock() - blockage.since_s) if blockage else 0.0
