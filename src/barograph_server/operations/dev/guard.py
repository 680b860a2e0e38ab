"""The guard of `barograph dev`: it evaluates the rules, sends notifications and publishes the models' states."""

import logging
import os
import threading
import time

import structlog

from barograph_server.alerts.guard.processor import GuardProcessor
from barograph_server.alerts.webhooks import Sender
from barograph_server.operations.dev.processors import INSTANCE
from barograph_server.settings import Settings
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.events.event_time import DAY_MS
from barograph_server.streams.registry.poller import RegistryPoller
from barograph_server.streams.runtime.backoff import Backoff, RetryInterrupted
from barograph_server.streams.runtime.metrics_report import Report, ReportWriter
from barograph_server.terminal import Terminal, utc_second

RETRY_S, MAX_RETRY_S = 1.0, 30.0
"""First and longest nominal delay before the guard starts again after an error."""


def run_beside(settings: Settings, stop: threading.Event) -> None:
    """Run a guard in a thread beside other work until `stop`. After an error it is printed and the guard starts again.

    After `stop` an error is not printed, because the caller stops the servers then.
    """

    def log(text: str) -> None:
        if not stop.is_set():
            Terminal().line(f"{utc_second(time.time())}  {text}")

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    processor = settings.processor(instance=INSTANCE)
    report = Report("guard", INSTANCE)
    registry = RegistryPoller(
        settings.warehouse, processor.registry_poll_s, retention_ms=processor.retention_days * DAY_MS
    )
    writer = ReportWriter(report, settings.warehouse, processor.report_s)
    sender = Sender(settings.alerts, os.environ, log)

    def run() -> None:
        GuardProcessor(processor, settings.alerts, registry.current, report, log, sender.send).run(stop)

    try:
        registry.start()
        writer.start()
        backoff = Backoff(RETRY_S, MAX_RETRY_S, report=report, sleep=lambda delay_s: stop.wait(delay_s))
        backoff.retry(
            run, ProcessorError, blocked_on="The guard starts again.", on_retry=lambda error, _: log(str(error))
        )
    except RetryInterrupted:
        pass
    except Exception as error:
        log(f"The alert rules are no longer evaluated: {error}")
    finally:
        registry.stop()
        writer.stop()
        sender.close()
