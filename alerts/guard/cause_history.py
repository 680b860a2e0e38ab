"""Writes which changes came before each verdict that became major to the table `suspected_causes`.

A thread looks for such verdicts once a minute. It computes those of the last day again each time, because a change may
be reported after the verdict, and panes may be revised.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog
from barograph.contract import Contract

from warehouse.client import Address, Client
from warehouse.errors import WarehouseBusy, WarehouseError
from warehouse.suspected_causes import ExplainedVerdict, explain_verdicts, models_with_major_verdicts, store_causes

CHECK_S = 60.0
"""Pause between checks, in seconds."""
REACH = timedelta(days=1)
"""Age in event time up to which a verdict is explained, and explained again."""
CLOSE_S = 10.0
"""Longest wait for the end of a check, in seconds."""


class CauseHistory:
    """The table, as the leading guard writes it."""

    def __init__(self, address: Address, connect_to: Callable[[Address], Client], clock: Callable[[], float]) -> None:
        """Start nothing.

        Args:
            address: of the warehouse.
            connect_to: opens the warehouse.
            clock: Unix seconds.
        """
        self._address, self._connect, self._clock = address, connect_to, clock
        self._thread: threading.Thread | None = None
        self._checked_s = -math.inf
        self._stop = threading.Event()
        self._stored: dict[str, list[ExplainedVerdict]] = {}
        self._problem = ""
        self._log = structlog.get_logger().bind(processor="guard")

    def follow(self, contracts: Mapping[str, Contract]) -> None:
        """Explain new verdicts on a thread, unless that was done in the last minute."""
        now_s = self._clock()
        is_running = self._thread is not None and self._thread.is_alive()
        if is_running or abs(now_s - self._checked_s) < CHECK_S:
            return
        self._checked_s = now_s
        self._thread = threading.Thread(target=self._run, args=(contracts,), name="causes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread after the model that it computes."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _run(self, contracts: Mapping[str, Contract]) -> None:
        now = datetime.fromtimestamp(self._clock(), UTC)
        try:
            with self._connect(self._address) as client:
                for model in sorted(models_with_major_verdicts(client, now - REACH) & contracts.keys()):
                    if self._stop.is_set():
                        return
                    self._update(client, contracts[model], now)
        except (WarehouseBusy, WarehouseError) as error:
            if str(error) != self._problem:
                self._problem = str(error)
                self._log.warning("causes not computed, next try in a minute", error=self._problem)
        except Exception:
            self._log.exception("causes not computed, next try in a minute")
        else:
            self._problem = ""

    def _update(self, client: Client, contract: Contract, now: datetime) -> None:
        explained = explain_verdicts(client, contract, now - REACH, now)
        if explained != self._stored.get(contract.model):
            store_causes(client, explained, now)
            self._stored[contract.model] = explained
