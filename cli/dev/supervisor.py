"""Keeps child processes running: one that ends is started again, later and later the more often it does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
HEALTHY_S = 60.0
"""One that ran so long has mended: its next end is a first one again."""


class Child(Protocol):
    """What is supervised: a process that can be started any number of times."""

    name: str

    @property
    def is_running(self) -> bool:
        """Whether it lives."""

    def start(self) -> None:
        """Start it."""

    def describe_end(self) -> str:
        """Say how it ended, after "sketcher"."""

    def terminate(self, timeout_s: float) -> bool:
        """Ask it to end; kill it after `timeout_s`, and say whether it ended by itself."""


@dataclass(slots=True)
class _Watched:
    child: Child
    started_s: float = 0.0
    ends: int = 0
    due_s: float | None = None
    """When it is to be started again; None while it runs."""


class Supervisor:
    """Starts children, restarts those that end, ends them all."""

    def __init__(
        self, children: Sequence[Child], say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Describe the work; nothing is started.

        Args:
            children: in the order in which they are started.
            say: is given a sentence for each end and restart.
            clock: seconds that never go back.
        """
        self._watched = [_Watched(child) for child in children]
        self._say, self._clock = say, clock

    def start(self) -> None:
        """Start every child."""
        for watched in self._watched:
            self._start(watched)

    def look(self) -> None:
        """Notice children that ended, and start those whose pause is over; to be called again and again."""
        for watched in self._watched:
            if watched.due_s is None and not watched.child.is_running:
                self._note_end(watched)
            elif watched.due_s is not None and self._clock() >= watched.due_s:
                self._start(watched)
                self._say(f"{watched.child.name} was started again.")

    def stop(self, timeout_s: float) -> None:
        """Ask all children to end at once, and wait for them; one that takes longer than `timeout_s` is killed."""
        with ThreadPoolExecutor(max(1, len(self._watched))) as pool:
            ended = list(pool.map(lambda watched: watched.child.terminate(timeout_s), self._watched))
        for watched, by_itself in zip(self._watched, ended, strict=True):
            if not by_itself:
                self._say(f"{watched.child.name} did not end within {timeout_s:.0f} s and was killed.")

    def _start(self, watched: _Watched) -> None:
        watched.child.start()
        watched.started_s, watched.due_s = self._clock(), None

    def _note_end(self, watched: _Watched) -> None:
        now = self._clock()
        watched.ends = 1 if now - watched.started_s >= HEALTHY_S else watched.ends + 1
        pause_s = min(FIRST_PAUSE_S * 2 ** (watched.ends - 1), LONGEST_PAUSE_S)
        watched.due_s = now + pause_s
        self._say(f"{watched.child.name} {watched.child.describe_end()} It is started again in {pause_s:.0f} s.")


def last_reason(log_lines: Sequence[str]) -> str:
    """Find the reason that a processor's log ends with: that of its last word, else the last line; or nothing."""
    for line in reversed(log_lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("event") == "stopped":
            return str(entry.get("reason", ""))
    return log_lines[-1].strip() if log_lines else ""
