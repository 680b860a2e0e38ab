"""The replay in acts: what is published until when, and what its owner does before it goes on.

Between two acts everything happens as in production: a contract is applied, a baseline accepted, and the processors go
on. The replay waits until they have taken it up, since its next hour comes in a second.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from cli.demo.counts import StageCount
from cli.demo.replay import Pace

AHEAD = 40_000
"""Predictions that may wait for the sketcher: six weeks of flights. More at once would only fill memory."""


@dataclass(frozen=True, slots=True)
class Act:
    """A stretch of the replay that ends with a deed."""

    end: datetime
    """In event time of the replay, the beginning of a day (UTC): events from here on wait for the deed."""
    deed: Callable[[], None]
    sealed_until: datetime | None = None
    """Panes that the deed needs sealed; None where it needs none."""

    @property
    def end_ms(self) -> int:
        """Its end in Unix milliseconds."""
        return round(self.end.timestamp() * 1000)


class Stage:
    """Opens the replay act by act."""

    def __init__(
        self,
        acts: Sequence[Act],
        predictions: pa.Table,
        labels: pa.Table,
        *,
        rest_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with the first act.

        Args:
            acts: in order of their ends; after the last one everything left is published.
            predictions: all of them, in order of `at`.
            labels: the same.
            rest_s: how long processors may take until they work by what a deed changed.
            clock: seconds.
        """
        self._acts = deque((act, _before(predictions, act.end_ms), _before(labels, act.end_ms)) for act in acts)
        self._rest_s, self._clock = rest_s, clock
        self._opens_s: float | None = None
        self.pace = Pace(ahead=AHEAD, until_ms=acts[0].end_ms if acts else None)

    def look(self, counts: Mapping[str, StageCount], sealed_until_s: Callable[[], int | None]) -> None:
        """Do the next deed if its time has come, or open the next act; to be called again and again.

        Args:
            counts: how far the stages are.
            sealed_until_s: asks up to which event time panes are sealed.
        """
        self.pace.note(counts["sketched"].done)
        if self._opens_s is not None:
            if self._clock() >= self._opens_s:
                self._opens_s = None
                self.pace.open(self._acts[0][0].end_ms if self._acts else None)
        elif self._acts:
            act, predictions, labels = self._acts[0]
            done = counts["published"].done >= predictions + labels and counts["sketched"].done >= predictions
            if done and (act.sealed_until is None or (sealed_until_s() or 0) >= act.sealed_until.timestamp()):
                self._acts.popleft()
                act.deed()
                self._opens_s = self._clock() + self._rest_s


def _before(table: pa.Table, end_ms: int) -> int:
    return int(np.searchsorted(table["at"].cast(pa.int64()).to_numpy(), end_ms))
