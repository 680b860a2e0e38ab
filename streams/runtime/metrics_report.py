"""What a processor tells of itself: its metrics, read by `/metrics`, and written to `processors` every few seconds."""

from __future__ import annotations

import bisect
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from streams.runtime.heartbeat import Heartbeat
from warehouse import metrics
from warehouse.client import Address, Client, connect
from warehouse.errors import WarehouseBusy, WarehouseError
from warehouse.metrics import BUCKETS_S, MetricFamily
from warehouse.processor_reports import ProcessorReport, insert_reports

Labels = tuple[str, ...]
"""One value for each label of a metric."""


@dataclass(slots=True)
class Timed:
    """A histogram of seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    """Of each bucket of `BUCKETS_S` and of what is longer than the last; not cumulative."""
    sum_s: float = 0.0
    longest_s: float = 0.0
    """Since the last report."""

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.counts[bisect.bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds
        self.longest_s = max(self.longest_s, seconds)


class Report:
    """The metrics of one processor since its start; any thread may write and read them."""

    def __init__(self, kind: str, instance: str) -> None:
        self.kind, self.instance = kind, instance
        self.started_ms = int(time.time() * 1000)
        self.heartbeat = Heartbeat()
        self._lock = threading.Lock()
        self._numbers: dict[MetricFamily, dict[Labels, float]] = {}
        self._times: dict[MetricFamily, dict[Labels, Timed]] = {}
        self._asked: dict[MetricFamily, Callable[[], float]] = {
            metrics.STARTED: lambda: self.started_ms / 1000,
            metrics.LOOP_AGE: lambda: self.heartbeat.age_s(),
            metrics.WAITING: lambda: self.heartbeat.blocked_s(),
            metrics.MEMORY: memory_bytes,
            metrics.CPU: time.process_time,
        }
        self._seen = (time.monotonic(), 0)
        for metric in (metrics.LAST_COMMIT, metrics.DEAD_LETTERS, metrics.RETRIES):
            self._numbers[metric] = {}

    # ------------------------------------------------------------------------------------------ writing

    def add(self, metric: MetricFamily, n: float, *labels: str | int) -> None:
        """Count so many more of a counter."""
        assert metric.kind == "counter"
        with self._lock:
            values = self._numbers.setdefault(metric, {})
            key = _checked(metric, labels)
            values[key] = values.get(key, 0.0) + n

    def set(self, metric: MetricFamily, value: float, *labels: str | int) -> None:
        """Say how a gauge is now."""
        assert metric.kind == "gauge"
        with self._lock:
            self._numbers.setdefault(metric, {})[_checked(metric, labels)] = value

    def replace(self, metric: MetricFamily, values: Mapping[tuple[str | int, ...], float]) -> None:
        """Say how a gauge is now for these labels, and forget it for all others."""
        assert metric.kind == "gauge"
        with self._lock:
            self._numbers[metric] = {_checked(metric, labels): value for labels, value in values.items()}

    def observe(self, metric: MetricFamily, seconds: float, *labels: str | int) -> None:
        """Note how long something took."""
        assert metric.kind == "histogram"
        with self._lock:
            self._times.setdefault(metric, {}).setdefault(_checked(metric, labels), Timed()).add(seconds)

    def set_function(self, metric: MetricFamily, value: Callable[[], float]) -> None:
        """Have a metric without labels asked whenever the report is read."""
        self._asked[metric] = value

    def count_committed(self, events: int, outcome: str, dead_letters: Mapping[str, int] | None = None) -> None:
        """Note that events were committed for good, what became of them, and how many were put aside by reason."""
        if events:
            self.add(metrics.EVENTS, events, outcome)
        self.count_dead_letters(dead_letters or {})
        self.set(metrics.LAST_COMMIT, int(time.time() * 1000) / 1000)

    def count_dead_letters(self, dead_letters: Mapping[str, int]) -> None:
        """Note dead letters by reason."""
        for reason, n in dead_letters.items():
            self.add(metrics.EVENTS, n, "dead")
            self.add(metrics.DEAD_LETTERS, n, reason)

    def count_retry(self, sink: str) -> None:
        """Note that `kafka` or `warehouse` did not take something, which is tried again."""
        self.add(metrics.RETRIES, 1, sink)

    def count_inserted(self, table: str, rows: int | None, seconds: float) -> None:
        """Note an insert that ClickHouse answered; None where nobody knows of how many rows."""
        self.observe(metrics.INSERT, seconds, table)
        if rows is not None:
            self.add(metrics.INSERTED, rows, table)

    # ------------------------------------------------------------------------------------------ reading

    @property
    def events(self) -> int:
        """Events handled, those that were put aside left out."""
        return int(sum(n for (outcome,), n in self.values(metrics.EVENTS).items() if outcome not in ("dead", "late")))

    @property
    def dead_letters(self) -> int:
        """Events put aside."""
        return int(sum(self.values(metrics.DEAD_LETTERS).values()))

    @property
    def retries(self) -> int:
        """Writes that had to be tried again."""
        return int(sum(self.values(metrics.RETRIES).values()))

    @property
    def lag(self) -> int:
        """Messages behind, over all partitions; -1 where it is not known yet."""
        values = self.values(metrics.LAG)
        return int(sum(values.values())) if values else -1

    def values(self, metric: MetricFamily) -> dict[Labels, float]:
        """A counter or gauge by its labels; empty where nothing was told of it."""
        if metric in self._asked:
            return {(): self._asked[metric]()}
        with self._lock:
            return dict(self._numbers.get(metric, {}))

    def times(self, metric: MetricFamily) -> dict[Labels, Timed]:
        """A histogram by its labels."""
        with self._lock:
            return {
                labels: Timed(list(timed.counts), timed.sum_s, timed.longest_s)
                for labels, timed in self._times.get(metric, {}).items()
            }

    def definitions(self) -> tuple[MetricFamily, ...]:
        """The metrics of a processor of this kind."""
        return tuple(metric for metric in metrics.METRICS if self.kind in metric.processors)

    def row(self) -> ProcessorReport:
        """Return a row of `processors`; the rate and the longest times cover the time since the previous row."""
        now, events = time.monotonic(), self.events
        then, before = self._seen
        self._seen = (now, events)
        return ProcessorReport(
            kind=self.kind,
            instance=self.instance,
            at=int(time.time() * 1000),
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self.started_ms,
            lag=self.lag,
            events=events,
            rate=(events - before) / max(now - then, 1e-3),
            retries=self.retries,
            dead_letters=self.dead_letters,
            last_commit_at=round(1000 * sum(self.values(metrics.LAST_COMMIT).values())),
            details=dict(self._details()),
        )

    def _details(self) -> Iterator[tuple[str, float]]:
        for metric in self.definitions():
            if metric.kind == "histogram":
                yield from self._longest(metric)
            elif not metric.column or metric.reported_labels:
                yield from _apart(metric, self.values(metric)).items()

    def _longest(self, metric: MetricFamily) -> Iterator[tuple[str, float]]:
        with self._lock:
            for labels, timed in self._times.get(metric, {}).items():
                yield metric.key(*labels), timed.longest_s
                timed.longest_s = 0.0


def _checked(metric: MetricFamily, labels: tuple[str | int, ...]) -> Labels:
    return tuple(label.normalize(value) for label, value in zip(metric.labels, labels, strict=True))


def _apart(metric: MetricFamily, values: Mapping[Labels, float]) -> dict[str, float]:
    """What `processors` tells of a metric: partitions together, other labels apart."""
    told: dict[str, float] = {}
    for labels, value in values.items():
        kept = [text for label, text in zip(metric.labels, labels, strict=True) if label in metric.reported_labels]
        key = metric.key(*kept)
        before = told.get(key)
        told[key] = value if before is None else before + value if metric.is_summed else max(before, value)
    return told


def memory_bytes() -> float:
    """The resident set of this process; NaN where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return float(int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except OSError:
        return float("nan")


class Reporter:
    """Writes the rows of a report; with ClickHouse away it goes on trying and never disturbs the processor."""

    def __init__(self, report: Report, address: Address, every_s: float) -> None:
        self._report, self._address, self._every_s = report, address, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._log = structlog.get_logger().bind(processor=report.kind, instance=report.instance)

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience_s: float = 2.0) -> None:
        """Write a last row, if that is soon done, and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(patience_s)

    def _run(self) -> None:
        client: Client | None = None
        failing = False
        while True:
            last = self._stop.wait(self._every_s)
            try:
                client = client or connect(self._address, timeout_s=10)
                insert_reports(client, [self._report.row()])
                failing = False
            except (WarehouseBusy, WarehouseError) as error:
                client = None
                if not failing:
                    self._log.warning("report not written", error=str(error))
                failing = True
            if last:
                return
