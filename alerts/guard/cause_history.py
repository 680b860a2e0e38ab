"""Writes which changes came before each verdict that became major to the table `suspected_causes`.

A thread looks for such verdicts once a minute. It ranks the changes of those of the last day again each time,
because a change may be reported after the verdict. Onsets are estimated once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from barograph.contract import Contract

from barograph_server.alerts.guard.background_task import BackgroundTask, TaskStopped
from barograph_server.alerts.guard.suspected_causes import (
    ExplainedVerdict,
    OnsetCache,
    explain_verdicts,
    store_causes,
)
from barograph_server.warehouse.client import Address, Client
from barograph_server.warehouse.governance.major_verdicts import models_with_major_verdicts

CHECK_S = 60.0
"""Pause between checks, in seconds."""
REACH = timedelta(days=1)
"""Age in event time up to which a verdict is explained, and explained again."""


class CauseHistory(BackgroundTask):
    """The table, as the leading guard writes it."""

    def __init__(self, address: Address, connect_to: Callable[[Address], Client], clock: Callable[[], float]) -> None:
        """Start nothing.

        Args:
            clock: Unix seconds.
        """
        super().__init__("ranking of changes", CHECK_S, clock)
        self._address, self._connect = address, connect_to
        self._stored: dict[str, list[ExplainedVerdict]] = {}
        self._onsets: OnsetCache = {}

    def work(self, contracts: Mapping[str, Contract]) -> None:
        """Explain the verdicts of the last day that became major, and store what is new."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        with self._connect(self._address) as client:
            for model in sorted(models_with_major_verdicts(client, now - REACH) & contracts.keys()):
                if self._stop.is_set():
                    raise TaskStopped
                explained = explain_verdicts(client, contracts[model], now - REACH, now, self._onsets)
                if explained != self._stored.get(model):
                    store_causes(client, explained, now)
                    self._stored[model] = explained
        self._onsets = {key: onset for key, onset in self._onsets.items() if key[1].window_end > now - REACH}
