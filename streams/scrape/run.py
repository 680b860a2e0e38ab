"""Entry point of the process that polls inference servers."""

import threading
import time
from collections.abc import Callable
from functools import partial

import structlog
from barograph.publisher.retry_schedule import RetrySchedule

from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.run import ProcessorServices, run_processor
from barograph_server.streams.runtime.http_exchange import HttpClient, HttpError, HttpFailure
from barograph_server.streams.runtime.lifecycle import ShutdownSignal
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.runtime.periodic import Periodic
from barograph_server.streams.scrape.exposition import ScrapeError, ScrapeOutcome, load_server_table, parse_exposition
from barograph_server.streams.scrape.fact_buffer import FactBuffer
from barograph_server.streams.scrape.facts import UP, FactReader, ScrapedFacts
from barograph_server.streams.scrape.settings import ScrapeSettings, ScrapeTarget
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.unencrypted import is_loopback
from barograph_server.warehouse.client import connect
from barograph_server.warehouse.operations import metrics

TICK_S = 0.5
FLUSH_S = 4.0
"""How long a stop waits for ClickHouse."""


def run_scrape(settings: ProcessorSettings, scrape: ScrapeSettings) -> int:
    """Poll inference servers until SIGTERM or SIGINT; return the exit code."""

    def work(services: ProcessorServices, shutdown: ShutdownSignal) -> None:
        poll_targets(settings, scrape, services.report, shutdown.requested)

    return run_processor("scrape", settings, work)


def poll_targets(settings: ProcessorSettings, scrape: ScrapeSettings, report: Report, stop: threading.Event) -> None:
    """Poll all targets until `stop` is set."""
    log = structlog.get_logger().bind(processor="scrape", instance=settings.instance)
    targets = scrape.checked_targets()
    for target in targets:
        if scrape.token and not target.secure and not is_loopback(target.host):
            log.warning("token is not encrypted", target=target.instance, action="Use https for this target.")
    buffer = FactBuffer(lambda: connect(settings.warehouse, timeout_s=20), report)

    body_of = partial(fetch, timeout_s=scrape.timeout_s, token=scrape.token)
    pollers = [TargetPoller(target, body_of, buffer, report, interval_s=scrape.interval_s) for target in targets]
    buffer.start()
    for target, poller in zip(targets, pollers, strict=True):
        Periodic(f"scrape {target.instance}", 0.0, poller.step, stop=stop).start()
    log.info("polling", targets=len(targets), interval_s=scrape.interval_s)
    try:
        while not stop.wait(TICK_S):
            if buffer.error is not None:
                raise ProcessorError(str(buffer.error))
            report.heartbeat.beat()
    finally:
        lost = buffer.stop(FLUSH_S)
        if lost:
            log.warning("facts lost", rows=lost, reason="ClickHouse did not accept them before the stop")


MAX_BODY_BYTES = 4 << 20
"""Largest answer. vLLM's has some 100 kB for one model."""
_OUTCOMES = {
    HttpFailure.TIMEOUT: ScrapeOutcome.TIMEOUT,
    HttpFailure.TLS: ScrapeOutcome.UNREACHABLE,
    HttpFailure.UNREACHABLE: ScrapeOutcome.UNREACHABLE,
    HttpFailure.CLOSED: ScrapeOutcome.UNREACHABLE,
    HttpFailure.TOO_LARGE: ScrapeOutcome.TOO_LARGE,
}
_ADVICE = {401: "Set BAROGRAPH_SCRAPE_TOKEN.", 403: "Set BAROGRAPH_SCRAPE_TOKEN.", 404: "Check the path."}


def fetch(target: ScrapeTarget, timeout_s: float, token: str = "", *, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the body of a successful answer.

    Args:
        timeout_s: seconds for everything after the name is resolved.
        token: sent as a bearer token; empty for none.
        max_bytes: a longer body is rejected.

    Raises:
        ScrapeError: there is no such answer.
    """
    headers = {"Accept": "text/plain;version=0.0.4"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    client = HttpClient(max_bytes)
    try:
        answer = client.exchange("GET", target.address, timeout_s, headers)
    except HttpError as error:
        raise ScrapeError(_OUTCOMES.get(error.kind, ScrapeOutcome.UNREADABLE), str(error)) from error
    finally:
        client.close()
    if 300 <= answer.status < 400:
        raise ScrapeError(
            ScrapeOutcome.REDIRECTED, "The endpoint redirects, which is not followed. Write the final address."
        )
    if answer.status != 200:
        hint = _ADVICE.get(answer.status, "Check the server.")
        raise ScrapeError(ScrapeOutcome.BAD_STATUS, f"The endpoint answers with status {answer.status}. {hint}")
    return answer.body


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
        """Prepare the poller; `fetch` returns the body of an answer."""
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
