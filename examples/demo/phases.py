"""The replay in phases: each phase publishes events up to a time, then the model's owner performs an action.

Between phases everything works as in production: a contract is applied or a baseline accepted while processors run. The
replay waits until processors have picked up the change, because it replays the next hour within a second.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from barograph_server.examples.demo.replay import Pace
from barograph_server.examples.demo.stage_counts import StageCount

AHEAD = 40_000
"""Maximum number of published predictions that the sketcher has not read: six weeks of flights."""


@dataclass(frozen=True, slots=True)
class ReplayPhase:
    """A period of the replay that ends with an action."""

    end: datetime
    """Start of a day (UTC) in event time of the replay. Later events wait for the action."""
    action: Callable[[], None]
    sealed_until: datetime | None = None
    """Time up to which panes must be sealed before the action; None if it does not matter."""

    @property
    def end_ms(self) -> int:
        """End in Unix milliseconds."""
        return round(self.end.timestamp() * 1000)


class PhasedReplay:
    """Runs the replay phase by phase."""

    def __init__(
        self,
        phases: Sequence[ReplayPhase],
        predictions: pa.Table,
        labels: pa.Table,
        *,
        rest_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with the first phase.

        Args:
            phases: phases in order of their ends; after the last one, all remaining events are published.
            predictions: all predictions, in order of `at`.
            labels: all labels, in order of `at`.
            rest_s: time that processors need to pick up the effect of an action.
            clock: returns seconds.
        """
        self._phases = deque(
            (phase, _before(predictions, phase.end_ms), _before(labels, phase.end_ms)) for phase in phases
        )
        self._rest_s, self._clock = rest_s, clock
        self._opens_s: float | None = None
        self.pace = Pace(ahead=AHEAD, until_ms=phases[0].end_ms if phases else None)

    def advance(self, counts: Mapping[str, StageCount], sealed_until_s: Callable[[], int | None]) -> None:
        """Perform the next action if it is due, or start the next phase; call repeatedly.

        Args:
            counts: progress of the stages.
            sealed_until_s: returns the event time up to which panes are sealed.
        """
        self.pace.note(counts["sketched"].done)
        if self._opens_s is not None:
            if self._clock() >= self._opens_s:
                self._opens_s = None
                self.pace.open(self._phases[0][0].end_ms if self._phases else None)
        elif self._phases:
            phase, predictions, labels = self._phases[0]
            done = counts["published"].done >= predictions + labels and counts["sketched"].done >= predictions
            if done and (phase.sealed_until is None or (sealed_until_s() or 0) >= phase.sealed_until.timestamp()):
                self._phases.popleft()
                phase.action()
                self._opens_s = self._clock() + self._rest_s


def _before(table: pa.Table, end_ms: int) -> int:
    return int(np.searchsorted(table["at"].cast(pa.int64()).to_numpy(), end_ms))
