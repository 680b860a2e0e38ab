"""Entry point of the process that polls inference servers."""

import threading

import structlog

from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.run import ProcessorServices, run_processor
from barograph_server.streams.runtime.lifecycle import ShutdownSignal
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.runtime.periodic import Periodic
from barograph_server.streams.scrape.fact_buffer import FactBuffer
from barograph_server.streams.scrape.http_fetch import fetch
from barograph_server.streams.scrape.poller import TargetPoller
from barograph_server.streams.scrape.settings import ScrapeSettings, ScrapeTarget
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.unencrypted import is_loopback
from barograph_server.warehouse.client import connect

TICK_S = 0.5
FLUSH_S = 4.0
"""How long a stop waits for ClickHouse."""


def run_scrape(settings: ProcessorSettings, scrape: ScrapeSettings) -> int:
    """Poll inference servers until SIGTERM or SIGINT; return the exit code.

    Args:
        scrape: the targets and the interval.
    """

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

    def body_of(target: ScrapeTarget) -> bytes:
        return fetch(target, scrape.timeout_s, scrape.token)

    pollers = [TargetPoller(target, body_of, buffer, report, interval_s=scrape.interval_s) for target in targets]
    threads = [Periodic("scrape", 0.0, poller.step, stop=stop) for poller in pollers]
    buffer.start()
    for thread in threads:
        thread.start()
    log.info("polling", targets=len(targets), interval_s=scrape.interval_s)
    try:
        while not stop.wait(TICK_S):
            if buffer.error is not None:
                raise ProcessorError(str(buffer.error))
            if not buffer.is_writing:
                raise ProcessorError("The thread that writes to ClickHouse ended with an error. Restart the processor.")
            stopped = [target.instance for target, thread in zip(targets, threads, strict=True) if not thread.is_alive]
            if stopped:
                raise ProcessorError(f"The thread of {stopped[0]} ended with an error. Restart the processor.")
            report.heartbeat.beat()
    finally:
        lost = buffer.stop(FLUSH_S)
        if lost:
            log.warning("facts lost", rows=lost, reason="ClickHouse did not accept them before the stop")
