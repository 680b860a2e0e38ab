"""The processors as processes: what each is put together from."""

from __future__ import annotations

import threading

from streams.kafka import TopicFacts
from streams.monitor.app import GROUP as MONITOR_GROUP
from streams.monitor.app import run_app
from streams.monitor.store import WarehouseStore
from streams.monitor.worker import Worker
from streams.process import EXIT_STOPPED, ProcessorError, configure_logging, run_until_signal
from streams.recorder import Recorder
from streams.registry_source import RegistrySource
from streams.report import Report, Reporter
from streams.settings import ProcessorSettings
from streams.sketcher import Sketcher
from streams.watchdog import Watchdog
from warehouse.client import connect


def run_sketcher(settings: ProcessorSettings) -> int:
    """Run a sketcher until SIGTERM or SIGINT; return the exit code."""
    configure_logging()

    def work(stop: threading.Event) -> None:
        report = Report("sketcher", settings.instance)
        source = RegistrySource(settings.warehouse, settings.registry_poll_s)
        source.start()
        reporter = Reporter(report, settings.warehouse, settings.report_s)
        sketcher = Sketcher(settings, source.current, report)
        reporter.start()
        try:
            sketcher.run(stop)
        finally:
            source.stop()
            reporter.stop()

    return run_until_signal("sketcher", settings.instance, work)


def run_recorder(settings: ProcessorSettings) -> int:
    """Run a recorder until SIGTERM or SIGINT; return the exit code."""
    configure_logging()

    def work(stop: threading.Event) -> None:
        report = Report("recorder", settings.instance)
        source = RegistrySource(settings.warehouse, settings.registry_poll_s)
        source.start()
        reporter = Reporter(report, settings.warehouse, settings.report_s)
        recorder = Recorder(settings, source.current, report)
        reporter.start()
        try:
            recorder.run(stop)
        finally:
            source.stop()
            reporter.stop()

    return run_until_signal("recorder", settings.instance, work)


def run_monitor(settings: ProcessorSettings) -> int:
    """Run a monitor until SIGTERM or SIGINT; return the exit code."""
    configure_logging()
    import structlog

    log = structlog.get_logger().bind(processor="monitor", instance=settings.instance)
    report = Report("monitor", settings.instance)
    source = RegistrySource(settings.warehouse, settings.registry_poll_s)
    try:
        source.start()
        topic_id, partitions = TopicFacts(settings).describe(settings.topics.parts)
        client = connect(settings.warehouse)
    except Exception as error:
        if isinstance(error, ProcessorError) or type(error).__module__.startswith("warehouse"):
            log.error("stopped", reason=str(error))
            return EXIT_STOPPED
        raise
    worker = Worker(settings, WarehouseStore(client), source.current, source.refresh, (topic_id, partitions), report)
    watchdog = Watchdog(
        settings, MONITOR_GROUP, settings.topics.parts, partitions, report, waiting=lambda: worker.waiting
    )
    reporter = Reporter(report, settings.warehouse, settings.report_s)
    reporter.start()
    watchdog.start()
    log.info("started")
    try:
        code = run_app(settings, worker)
    finally:
        source.stop()
        watchdog.stop()
        reporter.stop()
    log.info("stopped", exit=code)
    return code
