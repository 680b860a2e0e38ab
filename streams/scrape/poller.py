"""Scrapes one target at a fixed interval, on a thread of its own."""

import time
from collections.abc import Callable

import structlog
from barograph.publisher.retry_schedule import RetrySchedule

from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.scrape.exposition import parse_exposition
from barograph_server.streams.scrape.fact_buffer import FactBuffer
from barograph_server.streams.scrape.facts import UP, FactReader, ScrapedFacts
from barograph_server.streams.scrape.server_table import ScrapeError, ScrapeOutcome, load_server_table
from barograph_server.streams.scrape.settings import ScrapeTarget
from barograph_server.warehouse.operations import metrics

MAX_BACKOFF_S = 300.0
"""Longest time between two attempts at a target that fails."""
MAX_LOGGED_NAMES = 20
"""Names in one line of the log."""
MAX_UNKNOWN_NAMES = 2_000
"""Metrics that are not read and are remembered, so that each is counted and logged once; further ones are not."""


class TargetPoller:
    """Polls one target, and adds its facts to the buffer."""

    def __init__(
        self,
        target: ScrapeTarget,
        fetch: Callable[[ScrapeTarget], bytes],
        buffer: FactBuffer,
        report: Report,
        *,
        interval_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare the poller.

        Args:
            fetch: returns the body of its answer.
            interval_s: seconds between two scrapes.
        """
        self._target, self._fetch, self._buffer, self._report = target, fetch, buffer, report
        self._interval_s, self._clock = interval_s, clock
        self._reader = FactReader(load_server_table(), target.model, target.instance, target.labels)
        self._schedule = RetrySchedule(interval_s, max(interval_s, MAX_BACKOFF_S))
        self._outcome: ScrapeOutcome | None = None
        self._names: set[str] = set()
        self._servers: tuple[str, ...] = ()
        self._log = structlog.get_logger().bind(
            processor=report.kind, instance=report.instance, model=target.model, target=target.instance
        )

    @property
    def is_down(self) -> bool:
        """Whether the last scrape failed."""
        return self._outcome not in (None, ScrapeOutcome.READ)

    def step(self) -> float:
        """Scrape once, and return the seconds that are left until the next scrape."""
        began_s = time.monotonic()
        wait_s = self.scrape()
        return max(0.0, wait_s - (time.monotonic() - began_s))

    def scrape(self) -> float:
        """Scrape once, and return the seconds from now until the next scrape."""
        at_ms = int(self._clock() * 1000)
        try:
            facts = self._reader.read(parse_exposition(self._fetch(self._target)), at_ms)
        except ScrapeError as error:
            self._report.add(metrics.SCRAPES, 1, error.outcome)
            self._buffer.add([self._reader.target_fact(UP, 0.0, at_ms)])
            if error.outcome != self._outcome:
                self._log.warning("target not read", outcome=error.outcome, reason=str(error))
            self._outcome = error.outcome
            return self._schedule.record_failure()
        self._report.add(metrics.SCRAPES, 1, ScrapeOutcome.READ)
        self._buffer.add(facts.rows)
        self._count(facts)
        if self.is_down or facts.servers != self._servers:
            self._log.info("target is read", servers=list(facts.servers), facts=len(facts.rows))
        self._outcome, self._servers = ScrapeOutcome.READ, facts.servers
        self._schedule.reset()
        return self._interval_s

    def _count(self, facts: ScrapedFacts) -> None:
        for reason, n in facts.rejected.items():
            self._report.add(metrics.FACTS_NOT_OBSERVED, n, reason)
        if facts.resets:
            self._report.add(metrics.COUNTER_RESETS, facts.resets)
            self._log.info("server started again", counters=facts.resets)
        new = sorted(facts.unknown - self._names)[: MAX_UNKNOWN_NAMES - len(self._names)]
        if new:
            self._names.update(new)
            self._report.add(metrics.UNKNOWN_METRICS, len(new))
            self._log.info("metrics that are not read", n=len(new), names=new[:MAX_LOGGED_NAMES])
