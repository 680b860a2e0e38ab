"""Metrics and log messages of an ingest: what counted, what did not, and why."""

import time
from collections import Counter
from collections.abc import Callable

import structlog

from barograph_server.streams.otlp.ingest import Ingest
from barograph_server.streams.otlp.rejection import RequestReason
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.warehouse.operations import metrics

LOG_INTERVAL_S = 60.0
"""Shortest time between two log messages about the same kind of loss."""


class IngestReport:
    """Reports an ingest; not safe to share between threads."""

    def __init__(self, ingest: Ingest, report: Report, *, clock: Callable[[], float] = time.time) -> None:
        """Start with what the ingest has counted so far."""
        self._ingest, self._report, self._clock = ingest, report, clock
        self._requests: Counter[RequestReason] = Counter()
        self._reported: Counter[str] = Counter()
        self._logged: dict[str, tuple[float, int]] = {}
        self._known_names: set[str] = set()
        self._log = structlog.get_logger().bind(processor="otlp", instance=report.instance)

    def count_request(self, reason: RequestReason) -> None:
        """Count a request that could not be read."""
        self._requests[reason] += 1

    def update(self) -> None:
        """Add what changed since the last call to the metrics, and log what is new."""
        self._count()
        self._log_findings()

    def _count(self) -> None:
        ingest = self._ingest
        totals: Counter[str] = Counter({outcome.value: n for outcome, n in ingest.nested.outcomes.items()})
        totals.update({reason.value: n for reason, n in ingest.rejected.items()})
        for outcome, n in totals.items():
            if n > self._reported[outcome]:
                self._report.add(metrics.SPANS, n - self._reported[outcome], outcome)
                self._reported[outcome] = n
        for reason, total in self._by_reason().items():
            key = f"value {reason}"
            if total > self._reported[key]:
                self._report.add(metrics.NOT_OBSERVED, total - self._reported[key], reason)
                self._reported[key] = total

    def _by_reason(self) -> Counter[str]:
        by_reason: Counter[str] = Counter()
        for (_, reason), n in self._ingest.not_observed.items():
            by_reason[reason.value] += n
        return by_reason

    def _log_findings(self) -> None:
        ingest = self._ingest
        for title, names in (
            ("unknown attribute names", ingest.unknown),
            ("scopes without an entry in the table of trust", ingest.unlisted),
        ):
            new = sorted(name for name in names if f"{title} {name}" not in self._known_names)
            if new:
                self._known_names.update(f"{title} {name}" for name in new)
                self._log.info(title, names=new)
        losses = {f"requests rejected: {reason}": n for reason, n in self._requests.items()}
        losses |= {f"spans rejected: {reason}": n for reason, n in ingest.rejected.items()}
        losses |= {f"{meaning} not observed: {reason}": n for (meaning, reason), n in ingest.not_observed.items()}
        now_s = self._clock()
        for text, n in losses.items():
            last_s, logged = self._logged.get(text, (float("-inf"), 0))
            if n > logged and now_s - last_s >= LOG_INTERVAL_S:
                self._logged[text] = now_s, n
                self._log.warning(text, so_far=n)
