"""The metrics of a processor, served at `/metrics` and written to the table `processors` every few seconds."""

import bisect
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from barograph_server.streams.runtime.periodic import Periodic
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.operations import metrics
from barograph_server.warehouse.operations.metrics import BUCKETS_S, MetricFamily
from barograph_server.warehouse.operations.processor_reports import ProcessorReport, insert_reports

_ERRORS = (WarehouseBusy, WarehouseError)
Labels = tuple[str, ...]
"""One value for each label of a metric."""


@dataclass(slots=True)
class DurationHistogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    """One count for each bucket of `BUCKETS_S`, and one for longer durations; not cumulative."""
    sum_s: float = 0.0
    longest_s: float = 0.0
    """Longest duration since the last report."""

    def add(self, seconds: float) -> None:
        self.counts[bisect.bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds
        self.longest_s = max(self.longest_s, seconds)


class Report:
    """The metrics of one processor since its start; safe to use from any thread."""

    def __init__(
        self,
        kind: str,
        instance: str,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._monotonic = clock, monotonic
        self.kind, self.instance = kind, instance
        self.started_ms = int(self._clock() * 1000)
        self.heartbeat = Heartbeat(monotonic)
        self._lock = threading.Lock()
        self._numbers: dict[MetricFamily, dict[Labels, float]] = {}
        self._times: dict[MetricFamily, dict[Labels, DurationHistogram]] = {}
        self._functions: dict[MetricFamily, Callable[[], float]] = {
            metrics.STARTED: lambda: self.started_ms / 1000,
            metrics.LOOP_AGE: lambda: self.heartbeat.age_s(),
            metrics.WAITING: lambda: self.heartbeat.blocked_s(),
            metrics.MEMORY: memory_bytes,
            metrics.CPU: time.process_time,
        }
        self._last_row = (monotonic(), 0)
        for metric in (metrics.LAST_COMMIT, metrics.DEAD_LETTERS, metrics.RETRIES):
            self._numbers[metric] = {}

    # ------------------------------------------------------------------------------------------ writing

    def add(self, metric: MetricFamily, n: float, *labels: str | int) -> None:
        """Add to a counter."""
        assert metric.kind == "counter"
        with self._lock:
            values = self._numbers.setdefault(metric, {})
            key = _checked(metric, labels)
            values[key] = values.get(key, 0.0) + n

    def set(self, metric: MetricFamily, value: float, *labels: str | int) -> None:
        assert metric.kind == "gauge"
        with self._lock:
            self._numbers.setdefault(metric, {})[_checked(metric, labels)] = value

    def replace(self, metric: MetricFamily, values: Mapping[tuple[str | int, ...], float]) -> None:
        """Set a gauge for these labels, and remove it for all others."""
        assert metric.kind == "gauge"
        with self._lock:
            self._numbers[metric] = {_checked(metric, labels): value for labels, value in values.items()}

    def observe(self, metric: MetricFamily, seconds: float, *labels: str | int) -> None:
        """Add a duration to a histogram."""
        assert metric.kind == "histogram"
        with self._lock:
            self._times.setdefault(metric, {}).setdefault(_checked(metric, labels), DurationHistogram()).add(seconds)

    def set_function(self, metric: MetricFamily, value: Callable[[], float]) -> None:
        """Call a function for a metric without labels whenever the report is read."""
        self._functions[metric] = value

    def count_committed(self, events: int, outcome: str, dead_letters: Mapping[str, int] | None = None) -> None:
        """Count committed events by outcome, and dead letters by reason."""
        if events:
            self.add(metrics.EVENTS, events, outcome)
        self.count_dead_letters(dead_letters or {})
        self.set(metrics.LAST_COMMIT, int(self._clock() * 1000) / 1000)

    def count_dead_letters(self, dead_letters: Mapping[str, int]) -> None:
        for reason, n in dead_letters.items():
            self.add(metrics.EVENTS, n, "dead")
            self.add(metrics.DEAD_LETTERS, n, reason)

    def count_json_messages(self, read_by: Counter[str]) -> None:
        """Count the JSON messages of the `read_by` of a decoder, and empty it."""
        for reader, n in read_by.items():
            if reader == "panics":
                self.add(metrics.NATIVE_PANICS, n)
            else:
                self.add(metrics.JSON_MESSAGES, n, reader)
        read_by.clear()

    def count_retry(self, sink: str) -> None:
        """Count a retry against `kafka` or `warehouse`."""
        self.add(metrics.RETRIES, 1, sink)

    def count_inserted(self, table: str, rows: int | None, seconds: float) -> None:
        """Count an insert that ClickHouse confirmed; `rows` is None if their number is unknown."""
        self.observe(metrics.INSERT, seconds, table)
        if rows is not None:
            self.add(metrics.INSERTED, rows, table)

    # ------------------------------------------------------------------------------------------ reading

    @property
    def events(self) -> int:
        """Committed events, without dead letters and late events."""
        return int(sum(n for (outcome,), n in self.values(metrics.EVENTS).items() if outcome not in ("dead", "late")))

    @property
    def dead_letters(self) -> int:
        return int(sum(self.values(metrics.DEAD_LETTERS).values()))

    @property
    def retries(self) -> int:
        return int(sum(self.values(metrics.RETRIES).values()))

    @property
    def lag(self) -> int:
        """Lag in messages, over all partitions; -1 while it is unknown."""
        values = self.values(metrics.LAG)
        return int(sum(values.values())) if values else -1

    def values(self, metric: MetricFamily) -> dict[Labels, float]:
        """Return a counter or gauge by its labels; empty before the first value."""
        if metric in self._functions:
            return {(): self._functions[metric]()}
        with self._lock:
            return dict(self._numbers.get(metric, {}))

    def times(self, metric: MetricFamily) -> dict[Labels, DurationHistogram]:
        with self._lock:
            return {
                labels: DurationHistogram(list(timed.counts), timed.sum_s, timed.longest_s)
                for labels, timed in self._times.get(metric, {}).items()
            }

    def definitions(self) -> tuple[MetricFamily, ...]:
        """Return the metrics that this kind of processor has."""
        return tuple(metric for metric in metrics.METRICS if self.kind in metric.processors)

    def row(self) -> ProcessorReport:
        """Return a row of `processors`; the rate and the longest times cover the time since the previous row."""
        now_s, events = self._monotonic(), self.events
        last_s, last_events = self._last_row
        self._last_row = (now_s, events)
        return ProcessorReport(
            kind=self.kind,
            instance=self.instance,
            at=int(self._clock() * 1000),
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self.started_ms,
            lag=self.lag,
            events=events,
            rate=(events - last_events) / max(now_s - last_s, 1e-3),
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
                yield from _reported_values(metric, self.values(metric)).items()

    def _longest(self, metric: MetricFamily) -> Iterator[tuple[str, float]]:
        with self._lock:
            for labels, timed in self._times.get(metric, {}).items():
                yield metric.key(*labels), timed.longest_s
                timed.longest_s = 0.0


def _checked(metric: MetricFamily, labels: tuple[str | int, ...]) -> Labels:
    return tuple(label.normalize(value) for label, value in zip(metric.labels, labels, strict=True))


def _reported_values(metric: MetricFamily, values: Mapping[Labels, float]) -> dict[str, float]:
    """Return the values that `processors` reports of a metric: by label, over all partitions."""
    reported: dict[str, float] = {}
    for labels, value in values.items():
        texts = [text for label, text in zip(metric.labels, labels, strict=True) if label in metric.reported_labels]
        key = metric.key(*texts)
        before = reported.get(key)
        reported[key] = value if before is None else before + value if metric.is_summed else max(before, value)
    return reported


def memory_bytes() -> float:
    """Return the resident set size of this process; NaN if the system does not report it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return float(int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except OSError:
        return float("nan")


class ReportWriter(Periodic):
    """Writes the rows of a report; while ClickHouse is down it keeps trying, without affecting the processor."""

    def __init__(self, report: Report, address: Address, interval_s: float) -> None:
        self._report, self._address = report, address
        self._client: Client | None = None
        log = structlog.get_logger().bind(processor=report.kind, instance=report.instance)
        super().__init__(
            "reporter",
            interval_s,
            self._write,
            errors=_ERRORS,
            on_error=lambda error: log.warning("report not written", error=str(error)),
            at_end=self._write_last,
        )

    def stop(self, timeout_s: float | None = 2.0) -> None:
        """Write a last row, if that takes no longer than `timeout_s`, and stop."""
        super().stop(timeout_s)

    def _write(self) -> None:
        client, self._client = self._client or connect(self._address, timeout_s=10), None
        insert_reports(client, [self._report.row()])
        self._client = client

    def _write_last(self) -> None:
        with suppress(*_ERRORS):
            self._write()


@dataclass(frozen=True, slots=True)
class Blockage:
    """The server that blocks a processor, and since when."""

    reason: str
    since_s: float


class Heartbeat:
    """Written by the processor's threads, read by the watchdog's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start unblocked, before the first beat."""
        self._clock = clock
        self._lock = threading.Lock()
        self._beat_s = self._worked_s = clock()
        self.started = False
        """Whether the loop has completed an iteration."""
        self.blockage: Blockage | None = None
        """What the processor waits for; None while it works."""
        self.stopping = False
        """Whether the process has been requested to stop."""

    def beat(self) -> None:
        """Record an iteration of the loop."""
        self._beat_s = self._clock()
        self.started = True

    def record_work(self) -> None:
        """Record that a unit of work is done: a message that takes minutes consists of many."""
        self._worked_s = self._clock()

    def idle_s(self) -> float:
        """Return the seconds since the last unit of work, or since the start."""
        return max(0.0, self._clock() - self._worked_s)

    def blocked(self, reason: str) -> None:
        """Record that the processor waits for a server, which a restart would not change.

        Repeated calls update the reason and keep the start.
        """
        with self._lock:
            since_s = self.blockage.since_s if self.blockage else self._clock()
            self.blockage = Blockage(reason, since_s)

    def unblocked(self) -> None:
        """Record that the wait is over."""
        with self._lock:
            self.blockage = None

    def mark_stopping(self) -> None:
        """Record that the process has been requested to stop."""
        self.stopping = True

    def age_s(self) -> float:
        """Return the seconds since the last iteration, or since the start."""
        return max(0.0, self._clock() - self._beat_s)

    def blocked_s(self) -> float:
        """Return for how many seconds the processor has been blocked; 0 while it works."""
        blockage = self.blockage
        return max(0.0, self._clock() - blockage.since_s) if blockage else 0.0
