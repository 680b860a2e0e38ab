"""Restarts child processes that end, after a pause that doubles with each consecutive end."""

import json
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from barograph.publisher.retry_schedule import RetrySchedule

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
HEALTHY_S = 60.0
"""A child that ran at least this long starts over with the first pause."""


class Child(Protocol):
    """A process that can be started any number of times."""

    name: str

    @property
    def is_running(self) -> bool:
        """Whether it is running."""

    def start(self) -> None:
        """Start it."""

    def describe_end(self) -> str:
        """Describe how it ended, as the predicate of a sentence about it."""

    def terminate(self, timeout_s: float) -> bool:
        """Ask it to stop, kill it after `timeout_s`, and return whether it stopped by itself."""


@dataclass(slots=True)
class _ChildState:
    child: Child
    schedule: RetrySchedule
    started_s: float = 0.0
    is_restarting: bool = False
    """Whether it has ended and its restart is scheduled."""


class Supervisor:
    """Starts children, restarts those that end, and stops them all."""

    def __init__(
        self,
        children: Sequence[Child],
        report: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Register the children without starting them.

        Args:
            children: in the order of their start.
            report: receives a sentence for each end and restart.
        """
        self._states = [
            _ChildState(child, RetrySchedule(FIRST_PAUSE_S, LONGEST_PAUSE_S, clock=clock, uniform=uniform))
            for child in children
        ]
        self._report, self._clock = report, clock

    def start(self) -> None:
        for state in self._states:
            self._start(state)

    def poll(self) -> None:
        """Detect children that ended, and restart those whose pause is over. Call it regularly."""
        for state in self._states:
            if not state.is_restarting and not state.child.is_running:
                self._schedule_restart(state)
            elif state.is_restarting and state.schedule.is_due:
                self._start(state)
                self._report(f"{state.child.name} was restarted.")

    def stop(self, timeout_s: float) -> None:
        """Ask all children to stop at once, and wait; a child that takes longer than `timeout_s` is killed."""
        with ThreadPoolExecutor(max(1, len(self._states))) as pool:
            results = list(pool.map(lambda state: state.child.terminate(timeout_s), self._states))
        for state, stopped in zip(self._states, results, strict=True):
            if not stopped:
                self._report(f"{state.child.name} did not stop within {timeout_s:.0f} s and was killed.")

    def _start(self, state: _ChildState) -> None:
        state.child.start()
        state.started_s, state.is_restarting = self._clock(), False

    def _schedule_restart(self, state: _ChildState) -> None:
        if self._clock() - state.started_s >= HEALTHY_S:
            state.schedule.reset()
        pause_s, state.is_restarting = state.schedule.record_failure(), True
        self._report(f"{state.child.name} {state.child.describe_end()} It restarts in {pause_s:.0f} s.")


def last_reason(log_lines: Sequence[str]) -> str:
    """Find why a processor stopped: the reason in its last `stopped` record, else its last log line."""
    for line in reversed(log_lines):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("event") == "stopped":
            return str(record.get("reason", ""))
    return log_lines[-1].strip() if log_lines else ""
