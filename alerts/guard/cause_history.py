"""Writes which changes came before each verdict that became major to the table `suspected_causes`.

A thread looks for such verdicts once a minute. It ranks the changes of those of the last day again each time,
because a change may be reported after the verdict. Onsets are estimated once.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from threading import Event

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


def cause_history(
    address: Address, connect_to: Callable[[Address], Client], clock: Callable[[], float]
) -> BackgroundTask:
    """Return the task of the leading guard that explains the verdicts of the last day and stores what is new."""
    stored: dict[str, list[ExplainedVerdict]] = {}
    onsets: OnsetCache = {}

    def work(contracts: Mapping[str, Contract], stop: Event) -> None:
        now = datetime.fromtimestamp(clock(), UTC)
        with connect_to(address) as client:
            for model in sorted(models_with_major_verdicts(client, now - REACH) & contracts.keys()):
                if stop.is_set():
                    raise TaskStopped
                explained = explain_verdicts(client, contracts[model], now - REACH, now, onsets)
                if explained != stored.get(model):
                    store_causes(client, explained, now)
                    stored[model] = explained
        for key in [key for key in onsets if key[1].window_end <= now - REACH]:
            del onsets[key]

    return BackgroundTask("ranking of changes", CHECK_S, clock, work)
