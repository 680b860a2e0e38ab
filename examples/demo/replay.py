"""A demo of flights: publishes months of predictions and labels in the order of their event times.

Between two days the model's owner may act, while processors run as in production. The replay waits until processors
have picked up the change, because it replays the next hour within a second.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from barograph import Publisher

from barograph_server.batch.backfill.backfill import publisher_of
from barograph_server.examples.demo.base import POLL_S as APPLIED_S
from barograph_server.examples.demo.base import Demo
from barograph_server.examples.demo.findings import Findings
from barograph_server.examples.flights.contract import VERSION
from barograph_server.warehouse.client import connect

AHEAD = 40_000
"""Maximum number of published predictions that the sketcher has not read: six weeks of flights."""
APPLY_DELAY_S = 3 * APPLIED_S
"""Time after which every processor has picked up an applied change."""
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Action:
    """What the model's owner does between two days."""

    at: datetime
    """Start of a day (UTC) in event time of the replay. Later events wait for the action."""
    do: Callable[[], None]
    sealed_until: datetime | None = None
    """Time up to which panes must be sealed before it; None if it does not matter."""


class FlightsReplay(Demo):
    def replay(
        self,
        contract: Path,
        predictions: pa.Table,
        labels: pa.Table,
        totals: Mapping[str, int],
        *,
        shadows: pa.Table | None = None,
        actions: Sequence[Action] = (),
    ) -> tuple[int, int]:
        """Publish day by day, and wait until all events have passed all stages.

        Args:
            predictions: rows in order of `at`, like the others.
            labels: they arrive up to 33 hours after their predictions.
            totals: number of events per stage.
            actions: in order of time.

        Returns:
            Numbers of predictions of the primary and of labels that the publisher accepted.
        """
        publisher = publisher_of(self.settings, contract, VERSION)
        n_predictions = n_labels = 0
        pending = list(actions)
        tables = [predictions, labels] if shadows is None else [predictions, labels, shadows]
        with publisher, connect(self.settings.warehouse) as client:
            stages = _Stages(self, Findings(client, self.findings), publisher, totals)
            for day_ms, (built, landed, *mirrored) in days(*tables):
                if pending and day_ms >= pending[0].at.timestamp() * 1000:
                    action = pending.pop(0)
                    sealed_s = 0.0 if action.sealed_until is None else action.sealed_until.timestamp()
                    stages.wait(
                        {"published": n_predictions + n_labels, "sketched": n_predictions, "sealed_until_s": sealed_s}
                    )
                    action.do()
                    time.sleep(APPLY_DELAY_S)
                stages.wait({"sketched": n_predictions - AHEAD})
                n_predictions += publisher.predictions(built)
                for table in mirrored:
                    publisher.predictions(table)
                n_labels += publisher.labels(landed)
            publisher.publish_end_marker()
            stages.wait(totals)
        return n_predictions, n_labels


class _Stages:
    def __init__(self, demo: Demo, findings: Findings, publisher: Publisher, totals: Mapping[str, int]) -> None:
        self._demo, self._findings, self._publisher, self._totals = demo, findings, publisher, totals
        self._done: dict[str, Any] = dict.fromkeys((*totals, "sealed_until_s"), 0)

    def wait(self, least: Mapping[str, float]) -> None:
        """Wait until as many events have passed each stage.

        Raises:
            DemoError: there is no progress.
        """

        def measure() -> dict[str, Any]:
            return self._findings.row("progress") | {"published": self._publisher.stats.published}

        def is_done(done: Mapping[str, Any]) -> bool:
            return all(done[stage] >= n for stage, n in least.items())

        def shown(done: Mapping[str, Any]) -> str:
            return ", ".join(f"{stage} {done[stage]:,} of {n:,}" for stage, n in self._totals.items())

        if not is_done(self._done):
            self._done = self._demo.wait("The replay", measure, is_done, shown)


def days(*tables: pa.Table) -> Iterator[tuple[int, list[pa.Table]]]:
    """Split tables in order of `at` into days (UTC): the start of each day (Unix ms), and its rows of each table."""
    of_row = [table["at"].cast(pa.int64()).to_numpy() // DAY_MS for table in tables]
    for day in range(min(each[0] for each in of_row), max(each[-1] for each in of_row) + 1):
        bounds = [np.searchsorted(each, (day, day + 1)).tolist() for each in of_row]
        yield day * DAY_MS, [table.slice(a, b - a) for table, (a, b) in zip(tables, bounds, strict=True)]
