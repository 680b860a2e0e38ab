"""The sign of life of a processor's loop: when it came round last, and what it waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Blockage:
    """What a processor waits for, and since when."""

    reason: str
    since_s: float


class Heartbeat:
    """Set by the processor's threads, read by the watchdog's; times are those of `clock`, which never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._beat_s = clock()
        self._started = False
        self._blockage: Blockage | None = None
        self._stopping = False

    @property
    def started(self) -> bool:
        """Whether the loop has come round once."""
        return self._started

    @property
    def stopping(self) -> bool:
        """Whether the process was asked to end."""
        return self._stopping

    @property
    def blockage(self) -> Blockage | None:
        """What it waits for; None while it works."""
        return self._blockage

    def beat(self) -> None:
        """Tell that the loop came round."""
        self._beat_s = self._clock()
        self._started = True

    def blocked(self, reason: str) -> None:
        """Tell that something outside is waited for, which no restart would mend; called again while it lasts."""
        with self._lock:
            since_s = self._blockage.since_s if self._blockage else self._clock()
            self._blockage = Blockage(reason, since_s)

    def unblocked(self) -> None:
        """Tell that what was waited for is there."""
        with self._lock:
            self._blockage = None

    def mark_stopping(self) -> None:
        """Tell that the process was asked to end."""
        self._stopping = True

    def age_s(self) -> float:
        """Seconds since the loop came round, or since the start."""
        return max(0.0, self._clock() - self._beat_s)

    def blocked_s(self) -> float:
        """Seconds of waiting so far; 0 while it works."""
        blockage = self._blockage
        return max(0.0, self._clock() - blockage.since_s) if blockage else 0.0
