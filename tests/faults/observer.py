"""Checks during a run that values that must only grow never decrease."""

import threading
import time
from typing import Any

from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from tests.support.pipeline import Pipeline

INTERVAL_S = 1.0
AHEAD_S = 2.0
"""Tolerance of the check of sealed panes: a busy engine may read the table after the time of the query."""

_MONOTONIC = {
    "volume": (
        "model, version, baseline_id, slice, pane_s, toUnixTimestamp(pane_start)",
        ("sealed", "n", "record_seq"),
    ),
    "panes": (
        "model, version, baseline_id, slice, field, pane_s, toUnixTimestamp(pane_start)",
        ("sealed", "n", "record_seq"),
    ),
    "progress": ("partials_partition, model", ("toUnixTimestamp64Milli(sealed_until)", "record_seq")),
    "offset_ledger": ("partials_partition, source_partition", ("end_offset", "partitions", "epoch", "record_seq")),
}
"""By table: its key, and the columns whose values never decrease."""


class Observer:
    def __init__(self, pipeline: Pipeline, *, live: bool) -> None:
        self._pipeline, self._live = pipeline, live
        self._latest: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = {table: {} for table in _MONOTONIC}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self.checks = 0
        self.violations: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)
        self._check()

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            try:
                self._check()
            except (WarehouseBusy, WarehouseError):
                # The engine is down. Only the processors have to cope with that.
                continue

    def _check(self) -> None:
        for table, (key, columns) in _MONOTONIC.items():
            names = key.split(", ")
            known = self._latest[table]
            result = {
                row[: len(names)]: row[len(names) :]
                for row in self._pipeline.rows(f"SELECT {key}, {', '.join(columns)} FROM {table} FINAL")
            }
            for removed in known.keys() - result.keys():
                self.violations.append(f"{table}: the row of {removed} disappeared")
            for where, row in result.items():
                before = known.get(where, row)
                decreased = [name for name, was, now in zip(columns, before, row, strict=True) if now < was]
                if decreased:
                    self.violations.append(
                        f"{table}: {', '.join(decreased)} of {where} decreased from {before} to {row}"
                    )
            self._latest[table] = result
        if self._live:
            self._check_nothing_ahead_sealed()
        self.checks += 1

    def _check_nothing_ahead_sealed(self) -> None:
        """Check that no pane of the future is sealed: its verdict would count no events and claim to be complete."""
        before_s = time.time()
        [(sealed_s,)] = self._pipeline.rows(
            "SELECT max(toUnixTimestamp(pane_start) + pane_s) FROM volume FINAL WHERE sealed"
        )
        if sealed_s > before_s + AHEAD_S:
            self.violations.append(f"volume: a pane that ends in {sealed_s - before_s:.0f} s is sealed")
