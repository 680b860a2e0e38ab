"""Periodic check of the sample ratio of every A/B test: whether units are assigned to arms in the promised shares."""

from __future__ import annotations

import time
from collections.abc import Callable

from barograph_server.streams.registry.registry import Registry
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.arm_ratios import sample_ratio, write_ratio

MIN_INTERVAL_S = 600.0
"""Shortest interval between the checks of a model. A check reads the units of the whole test."""
MAX_TIME_SHARE = 0.02
"""Largest share of the time that a model's checks take; slower checks are made less often."""


class ArmRatioSchedule:
    """Schedules the checks of each model's arm ratio."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s: dict[str, float] = {}

    def check_due(self, client: Client, registry: Registry, now_ms: int) -> None:
        """Check the ratios that are due and write the results."""
        for model, contract in sorted(registry.contracts.items()):
            start_s = self._clock()
            if contract.arms is None or start_s < self._next_s.get(model, start_s):
                continue
            ratio = sample_ratio(client, contract, now_ms)
            if ratio is not None:
                write_ratio(client, ratio)
            end_s = self._clock()
            self._next_s[model] = end_s + max(MIN_INTERVAL_S, (end_s - start_s) / MAX_TIME_SHARE)
