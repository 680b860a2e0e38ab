"""The processors as processes: what each is put together from.

Each imports its own parts when it runs: Faust, scipy and the sketches take seconds to load, and no processor needs all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import structlog

from streams.kafka import TopicFacts
from streams.process import EXIT_STOPPED, ProcessorError, configure_logging, run_until_signal
from streams.registry import Registry
from streams.registry_source import RegistrySource
from streams.report import Report, Reporter
from streams.rights import require_rights
from streams.settings import ProcessorSettings
from warehouse import queries
from warehouse.client import connect
from warehouse.errors import WarehouseBusy, WarehouseError


class Runnable(Protocol):
    """What works until it is told to stop."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""


def run_sketcher(settings: ProcessorSettings) -> int:
    """Run a sketcher until SIGTERM or SIGINT; return the exit code."""
    from streams.sketcher import Sketcher

    def make(registry: Callable[[], Registry], report: Report) -> Runnable:
        require_rights(settings, "sketcher")
        _parts_topic(settings)
        return Sketcher(settings, registry, report)

    return _run("sketcher", settings, make)


def run_recorder(settings: ProcessorSettings) -> int:
    """Run a recorder until SIGTERM or SIGINT; return the exit code."""
    from streams.recorder import Recorder

    def make(registry: Callable[[], Registry], report: Report) -> Runnable:
        require_rights(settings, "recorder")
        _parts_topic(settings)
        return Recorder(settings, registry, report)

    return _run("recorder", settings, make)


def run_monitor(settings: ProcessorSettings) -> int:
    """Run a monitor until SIGTERM or SIGINT; return the exit code."""
    from streams.monitor.app import GROUP, run_app
    from streams.monitor.security import security_of
    from streams.monitor.store import WarehouseStore
    from streams.monitor.worker import Worker
    from streams.watchdog import Watchdog

    configure_logging()
    log = structlog.get_logger().bind(processor="monitor", instance=settings.instance)
    report = Report("monitor", settings.instance)
    source = RegistrySource(settings.warehouse, settings.registry_poll_s)
    try:
        security = security_of(settings.kafka)
        source.start()
        require_rights(settings, "monitor")
        topic_id, partitions = _parts_topic(settings)
        client = connect(settings.warehouse)
    except (ProcessorError, WarehouseError, WarehouseBusy) as error:
        log.error("stopped", reason=str(error))
        return EXIT_STOPPED
    worker = Worker(settings, WarehouseStore(client), source.current, source.refresh, (topic_id, partitions), report)
    watchdog = Watchdog(settings, GROUP, settings.topics.parts, partitions, report, waiting=lambda: worker.waiting)
    reporter = Reporter(report, settings.warehouse, settings.report_s)
    reporter.start()
    watchdog.start()
    log.info("started")
    try:
        code = run_app(settings, worker, security)
    finally:
        source.stop()
        watchdog.stop()
        reporter.stop()
    log.info("stopped", exit=code)
    return code


def run_scorer(settings: ProcessorSettings) -> int:
    """Run a scorer until SIGTERM or SIGINT; return the exit code."""
    from streams.scorer.worker import Scorer

    return _run("scorer", settings, lambda registry, report: Scorer(settings, registry, report))


def _run(kind: str, settings: ProcessorSettings, make: Callable[[Callable[[], Registry], Report], Runnable]) -> int:
    configure_logging()

    def work(stop: threading.Event) -> None:
        report = Report(kind, settings.instance)
        source = RegistrySource(settings.warehouse, settings.registry_poll_s)
        source.start()
        reporter = Reporter(report, settings.warehouse, settings.report_s)
        processor = make(source.current, report)
        reporter.start()
        try:
            processor.run(stop)
        finally:
            source.stop()
            reporter.stop()

    return run_until_signal(kind, settings.instance, work)


def _parts_topic(settings: ProcessorSettings) -> tuple[str, int]:
    """The id and the partitions of `parts`, which must be as many as `apply` recorded.

    Raises:
        ProcessorError: the count changed: a model's parts would then lie on two partitions.
    """
    name = settings.topics.parts
    topic_id, partitions = TopicFacts(settings).describe(name)
    with connect(settings.warehouse) as client:
        recorded = [row.partitions for row in queries.topics(client) if row.name == name and row.topic_id == topic_id]
    if recorded and recorded[-1] != partitions:
        raise ProcessorError(
            f"Topic {name} has {partitions} partitions, and `barograph apply` recorded {recorded[-1]}: the parts of "
            "one model must not lie on two. Delete the topic and run `barograph apply`, which makes it anew."
        )
    return topic_id, partitions
