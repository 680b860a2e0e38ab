"""Watches the warehouse during a run for what must never go back."""

from __future__ import annotations

import threading
import time
from typing import Any

from tests.support.pipeline import Pipeline
from warehouse.errors import WarehouseBusy, WarehouseError

EVERY_S = 1.0
AHEAD_S = 2.0
"""An answer of a busy engine may be of a moment after it was asked."""

_WATCHED = {
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
"""Table → its key, and the columns that never fall."""


class Observer:
    """Looks again and again, in a thread of its own, straight at the engine."""

    def __init__(self, pipeline: Pipeline, *, live: bool) -> None:
        self._pipeline, self._live = pipeline, live
        self._seen: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = {table: {} for table in _WATCHED}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self.looks = 0
        self.broken: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look a last time and end."""
        self._stop.set()
        self._thread.join(60)
        self._look()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                self._look()
            except (WarehouseBusy, WarehouseError):
                # The engine is down: that is for those who need it.
                continue

    def _look(self) -> None:
        for table, (key, columns) in _WATCHED.items():
            names = key.split(", ")
            known = self._seen[table]
            result = {
                row[: len(names)]: row[len(names) :]
                for row in self._pipeline.rows(f"SELECT {key}, {', '.join(columns)} FROM {table} FINAL")
            }
            for removed in known.keys() - result.keys():
                self.broken.append(f"{table}: the row of {removed} went away")
            for where, row in result.items():
                before = known.get(where, row)
                fallen = [name for name, was, now in zip(columns, before, row, strict=True) if now < was]
                if fallen:
                    self.broken.append(f"{table}: {', '.join(fallen)} of {where} went back from {before} to {row}")
            self._seen[table] = result
        if self._live:
            self._look_ahead()
        self.looks += 1

    def _look_ahead(self) -> None:
        """What is yet to come is never sealed: its verdict would be of nothing, and called complete."""
        before_s = time.time()
        [(sealed_s,)] = self._pipeline.rows(
            "SELECT max(toUnixTimestamp(pane_start) + pane_s) FROM volume FINAL WHERE sealed"
        )
        if sealed_s > before_s + AHEAD_S:
            self.broken.append(f"volume: what ends in {sealed_s - before_s:.0f} s is sealed")
