"""Whether units fall to arms as promised: the scorer looks every now and then, at every model that is tested."""

from __future__ import annotations

import time
from collections.abc import Callable

from streams.registry.registry import Registry
from warehouse.arm_ratios import sample_ratio, write_ratio
from warehouse.client import Client

LOOK_S = 600.0
"""A look reads the units of the whole test: so seldom at most, and …"""
LOOK_SHARE = 0.02
"""… so seldom that it takes no more than this share of the time."""


class RatioLooks:
    """When each model's ratio is looked at."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s: dict[str, float] = {}

    def look(self, client: Client, registry: Registry, now_ms: int) -> None:
        """Look at the ratios that are due, and write what was found.

        Raises:
            WarehouseBusy: ClickHouse cannot answer now: the next call looks again.
            WarehouseError: it refuses.
        """
        for model, contract in sorted(registry.contracts.items()):
            began = self._clock()
            if contract.arms is None or began < self._next_s.get(model, began):
                continue
            found = sample_ratio(client, contract, now_ms)
            if found is not None:
                write_ratio(client, found)
            ended = self._clock()
            self._next_s[model] = ended + max(LOOK_S, (ended - began) / LOOK_SHARE)
