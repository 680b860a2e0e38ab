"""Rows between scrapes and ClickHouse: a bounded buffer, and a thread that writes it.

While ClickHouse is down, the newest rows are retained and the oldest are dropped and counted. Scraping continues: the
processor is not blocked.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from barograph_server.streams.runtime.backoff import Backoff, RetryInterrupted
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.operations import metrics
from barograph_server.warehouse.operations.serving_facts import ServingFact, insert_serving_facts

MAX_ROWS = 50_000
"""Rows that wait for ClickHouse: 40 minutes of ten vLLM servers, some 50 MB."""
MAX_BATCH_ROWS = 5_000
RETRY_S, MAX_RETRY_S = 0.5, 15.0


class FactBuffer:
    """Retains rows until ClickHouse has them; safe to share between threads."""

    def __init__(self, connect: Callable[[], Client], report: Report, *, max_rows: int = MAX_ROWS) -> None:
        """Prepare the buffer of `max_rows`, beyond which the oldest are dropped; nothing is written before `start`."""
        self._connect, self._report, self._max_rows = connect, report, max_rows
        self._rows: deque[ServingFact] = deque()
        self._lock = threading.Lock()
        self._filled, self._stop = threading.Event(), threading.Event()
        self._client: Client | None = None
        self._is_busy = self._is_dropping = False
        self._log = structlog.get_logger().bind(processor=report.kind, instance=report.instance)
        self._thread = threading.Thread(target=self._run, name="fact-writer", daemon=True)
        self.error: WarehouseError | None = None
        """Why ClickHouse refuses permanently; nothing is written any more."""

    @property
    def waiting(self) -> int:
        return len(self._rows)

    def start(self) -> None:
        self._thread.start()

    def add(self, rows: Sequence[ServingFact]) -> None:
        """Add rows, and drop the oldest beyond the limit."""
        with self._lock:
            self._rows.extend(rows)
            excess = max(0, len(self._rows) - self._max_rows)
            for _ in range(excess):
                self._rows.popleft()
        if excess:
            self._report.add(metrics.FACTS_DROPPED, excess)
            if not self._is_dropping:
                self._log.warning("oldest facts are dropped", limit=self._max_rows, reason="ClickHouse accepts none")
            self._is_dropping = True
        self._filled.set()

    def stop(self, timeout_s: float) -> int:
        """Write what waits, if ClickHouse answers in time, and stop; return how many rows were lost."""
        self._stop.set()
        self._filled.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return len(self._rows)

    def _run(self) -> None:
        backoff = Backoff(RETRY_S, MAX_RETRY_S, sleep=self._stop.wait)
        while True:
            self._filled.wait()
            self._filled.clear()
            is_last = self._stop.is_set()
            try:
                while self._rows:
                    backoff.retry(self._write_batch, WarehouseBusy, on_retry=self._on_busy)
            except RetryInterrupted:
                is_last = True
                with suppress(WarehouseBusy, WarehouseError):
                    while self._rows:
                        self._write_batch()
            except WarehouseError as error:
                self.error = error
                is_last = True
            if is_last:
                self._disconnect()
                return

    def _write_batch(self) -> None:
        if self._client is None:
            self._client = self._connect()
            self._client.on_insert = self._report.count_inserted
        with self._lock:
            batch = [self._rows[i] for i in range(min(len(self._rows), MAX_BATCH_ROWS))]
        insert_serving_facts(self._client, batch)
        with self._lock:
            # `add` may have dropped rows of the batch from the left meanwhile.
            written = {id(row) for row in batch}
            while self._rows and id(self._rows[0]) in written:
                self._rows.popleft()
        self._report.count_committed(len(batch), "stored")
        self._report.heartbeat.record_work()
        if self._is_busy:
            self._log.info("warehouse answers again")
        self._is_busy = self._is_dropping = False

    def _on_busy(self, error: Exception, _delay_s: float) -> None:
        self._disconnect()
        self._report.count_retry("warehouse")
        if not self._is_busy:
            self._log.warning("warehouse busy", error=str(error))
        self._is_busy = True

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None
