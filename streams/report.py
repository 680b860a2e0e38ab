"""What a processor tells of itself: one row in `processors` every few seconds, from a thread of its own."""

from __future__ import annotations

import os
import socket
import threading
import time

import structlog

from warehouse.client import Address, Client, connect
from warehouse.errors import WarehouseBusy, WarehouseError
from warehouse.tables import insert_rows


class Report:
    """Counters of one processor since its start; the processor's thread writes them, the reporter's reads them."""

    def __init__(self, kind: str, instance: str) -> None:
        self.kind, self.instance = kind, instance
        self.started_ms = int(time.time() * 1000)
        self.events = 0
        self.dead_letters = 0
        self.retries = 0
        self.last_commit_ms = 0
        self.details: dict[str, float] = {}
        self._lag: dict[int, int] = {}
        self._seen = (time.monotonic(), 0)

    def set_lag(self, partition: int, lag: int) -> None:
        """Note how many messages of a partition are still unread."""
        self._lag[partition] = lag

    def forget_lag(self) -> None:
        """Forget partitions that were taken away."""
        self._lag = {}

    def committed(self, events: int, dead_letters: int = 0, duration_s: float = 0.0) -> None:
        """Note that events were committed for good."""
        self.events += events
        self.dead_letters += dead_letters
        self.last_commit_ms = int(time.time() * 1000)
        self.details["commit_seconds"] = duration_s

    def row(self) -> dict[str, object]:
        """One row of `processors`; the rate is that since the last row."""
        now = time.monotonic()
        then, before = self._seen
        self._seen = (now, self.events)
        return {
            "kind": self.kind,
            "instance": self.instance,
            "at": int(time.time() * 1000),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": self.started_ms,
            "lag": sum(self._lag.copy().values()),
            "events": self.events,
            "rate": (self.events - before) / max(now - then, 1e-3),
            "retries": self.retries,
            "dead_letters": self.dead_letters,
            "last_commit_at": self.last_commit_ms,
            "details": self.details.copy(),
        }


class Reporter:
    """Writes the rows of a report; with ClickHouse away it goes on trying and never disturbs the processor."""

    def __init__(self, report: Report, address: Address, every_s: float) -> None:
        self._report, self._address, self._every_s = report, address, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._log = structlog.get_logger().bind(processor=report.kind, instance=report.instance)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write a last row and end."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        client: Client | None = None
        failing = False
        while True:
            last = self._stop.wait(self._every_s)
            try:
                client = client or connect(self._address, timeout_s=10)
                insert_rows(client, "processors", [self._report.row()])
                failing = False
            except (WarehouseBusy, WarehouseError) as error:
                client = None
                if not failing:
                    self._log.warning("report not written", error=str(error))
                failing = True
            if last:
                return
