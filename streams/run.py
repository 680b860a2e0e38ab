"""Entry points of the processor processes.

Each imports its modules when it runs: Faust, scipy and the sketches take seconds to load, and no processor needs all.
"""

import threading
from collections.abc import Callable, Collection
from typing import Protocol

import structlog

from barograph_server.streams.broker.acl import require_acls
from barograph_server.streams.broker.client import TopicMetadata
from barograph_server.streams.broker.consumer_lag import LagMonitor, SourceTopic
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.events.event_time import DAY_MS
from barograph_server.streams.health.endpoint import OFF, Endpoint
from barograph_server.streams.health.watchdog import SCORER_STALL_TIMEOUTS, Watchdog
from barograph_server.streams.registry.poller import RegistryPoller
from barograph_server.streams.runtime.lifecycle import (
    ShutdownSignal,
    configure_logging,
    run_until_signal,
    use_single_malloc_arena,
)
from barograph_server.streams.runtime.metrics_report import Report, ReportWriter
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.unencrypted import unencrypted_connections
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.operations import metrics


class Runnable(Protocol):
    """A processor that runs until it is stopped."""

    def run(self, stop: threading.Event) -> None:
        """Run until `stop` is set."""

    def assigned_partitions(self) -> Collection[tuple[str, int]] | None:
        """Return the partitions that it must move now; None during a rebalance."""


def run_sketcher(settings: ProcessorSettings) -> int:
    """Run a sketcher until SIGTERM or SIGINT; return the exit code."""

    def work(services: ProcessorServices, shutdown: ShutdownSignal) -> None:
        from barograph_server.streams.sketcher.sketcher import GROUP, Sketcher

        require_acls(settings, "sketcher")
        _partials_topic(settings)
        services.run(
            Sketcher(settings, services.registry, services.report), GROUP, [_source(settings, "predictions")], shutdown
        )

    return run_processor("sketcher", settings, work)


def run_recorder(settings: ProcessorSettings) -> int:
    """Run a recorder until SIGTERM or SIGINT; return the exit code."""

    def work(services: ProcessorServices, shutdown: ShutdownSignal) -> None:
        from barograph_server.streams.recorder.recorder import GROUP, Recorder

        require_acls(settings, "recorder")
        _partials_topic(settings)
        sources = [_source(settings, "predictions"), _source(settings, "labels")]
        services.run(Recorder(settings, services.registry, services.report), GROUP, sources, shutdown)

    return run_processor("recorder", settings, work)


def run_monitor(settings: ProcessorSettings) -> int:
    """Run a monitor until SIGTERM or SIGINT; return the exit code."""

    def work(services: ProcessorServices, shutdown: ShutdownSignal) -> int:
        from barograph_server.streams.monitor.app import GROUP, run_app
        from barograph_server.streams.monitor.security import security_of
        from barograph_server.streams.monitor.state.store import WarehouseStore
        from barograph_server.streams.monitor.worker import Worker

        security = security_of(settings.kafka)
        require_acls(settings, "monitor")
        topic_id, partitions = _partials_topic(settings)
        client = connect(settings.warehouse)
        client.on_insert = services.report.count_inserted
        store = WarehouseStore(client, on_work=services.report.heartbeat.record_work)
        topic = topic_id, partitions
        worker = Worker(settings, store, services.registry, services.source.refresh, topic, services.report)
        # The last offset of the topic is the marker of a commit, which no consumer returns.
        partials = SourceTopic(settings.topics.partials, "partials", partitions, trailing_markers=1)

        def assigned_partitions() -> Collection[tuple[str, int]] | None:
            assigned = worker.assigned
            return None if assigned is None else [(partials.name, p) for p in assigned]

        services.watch(
            LagMonitor(settings, GROUP, [partials], services.report, assigned_partitions=assigned_partitions)
        )
        return run_app(settings, worker, security, shutdown)

    use_single_malloc_arena()
    return run_processor("monitor", settings, work)


def run_scorer(settings: ProcessorSettings) -> int:
    """Run a scorer until SIGTERM or SIGINT; return the exit code."""

    def work(services: ProcessorServices, shutdown: ShutdownSignal) -> None:
        from barograph_server.streams.scorer.worker import Scorer

        Scorer(settings, services.registry, services.report).run(shutdown.requested)

    return run_processor("scorer", settings, work)


class ProcessorServices:
    """The services around a processor's work: registry, metrics, health endpoint, watchdog."""

    def __init__(self, kind: str, settings: ProcessorSettings) -> None:
        self._settings = settings
        self.report = Report(kind, settings.instance)
        counting_only = kind in ("sketcher", "recorder")
        self.source = RegistryPoller(
            settings.warehouse,
            settings.registry_poll_s,
            counting_only=counting_only,
            retention_ms=settings.retention_days * DAY_MS,
            with_codebooks=kind == "otlp",
        )
        self.registry = self.source.current
        self.report.set_function(metrics.REGISTRY_AGE, self.source.age_s)
        self.report.set_function(metrics.REGISTRY_READABLE, lambda: float(self.source.is_readable()))
        self._watchdog = Watchdog(self.report, timeouts=SCORER_STALL_TIMEOUTS if kind == "scorer" else None)
        self._reporter = ReportWriter(self.report, settings.warehouse, settings.report_s)
        self._endpoint: Endpoint | None = None
        if settings.metrics_port != OFF:
            self._endpoint = Endpoint(settings, self.report, self._watchdog.health)

    def start(self, shutdown: ShutdownSignal) -> None:
        """Start the endpoint, the watchdog, the registry and the reports."""
        shutdown.add_hook(self.report.heartbeat.mark_stopping)
        shutdown.add_hook(self.source.stop)
        if self._endpoint is not None:
            self._endpoint.start()
        self._watchdog.start()
        self.source.start()
        self._reporter.start()

    def watch(self, offsets: LagMonitor) -> None:
        """Make the watchdog check a group's committed offsets too."""
        self._watchdog.watch(offsets)

    def run(self, processor: Runnable, group: str, sources: Collection[SourceTopic], shutdown: ShutdownSignal) -> None:
        """Run a processor that reads topics until a stop is requested."""
        self.watch(
            LagMonitor(self._settings, group, sources, self.report, assigned_partitions=processor.assigned_partitions)
        )
        processor.run(shutdown.requested)

    def stop(self) -> None:
        """Stop all services, without waiting for servers that do not answer."""
        self.source.stop()
        self._watchdog.stop()
        self._reporter.stop()
        if self._endpoint is not None:
            self._endpoint.stop()


def run_processor(
    kind: str, settings: ProcessorSettings, work: Callable[[ProcessorServices, ShutdownSignal], int | None]
) -> int:
    """Run a processor with its services until SIGTERM or SIGINT; return the exit code."""
    configure_logging()
    log = structlog.get_logger().bind(processor=kind, instance=settings.instance)
    for connection in unencrypted_connections(settings.bootstrap_servers, settings.kafka, settings.warehouse):
        log.warning("not encrypted", server=connection.server, reason=connection.message, action=connection.action)

    def run_with_services(shutdown: ShutdownSignal) -> int | None:
        services = ProcessorServices(kind, settings)
        try:
            services.start(shutdown)
            return work(services, shutdown)
        except (WarehouseBusy, WarehouseError) as error:
            raise ProcessorError(str(error)) from error
        finally:
            services.stop()

    return run_until_signal(kind, settings.instance, run_with_services)


def _source(settings: ProcessorSettings, label: str) -> SourceTopic:
    return SourceTopic(getattr(settings.topics, label), label)


def _partials_topic(settings: ProcessorSettings) -> tuple[str, int]:
    """Return the id and the number of partitions of `partials`, which must be the number that `apply` recorded."""
    name = settings.topics.partials
    topic_id, partitions = TopicMetadata(settings).describe(name)
    with connect(settings.warehouse) as client:
        recorded = [row.partitions for row in queries.topics(client) if row.name == name and row.topic_id == topic_id]
    if recorded and recorded[-1] != partitions:
        raise ProcessorError(
            f"Topic {name} has {partitions} partitions, and `barograph apply` recorded {recorded[-1]}: the "
            "partials of one model must not lie on two. Delete the topic and run `barograph apply`, which recreates it."
        )
    return topic_id, partitions
