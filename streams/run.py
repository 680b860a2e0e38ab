"""The processors as processes: what each is put together from.

Each imports its own parts when it runs: Faust, scipy and the sketches take seconds to load, and no processor needs all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Protocol

from streams.broker.acl import require_rights
from streams.broker.client import TopicMetadata
from streams.broker.consumer_lag import LagMonitor, Source
from streams.errors import ProcessorError
from streams.health.endpoint import OFF, Endpoint
from streams.health.watchdog import SCORER_STALL_TIMEOUTS, Watchdog
from streams.registry.poller import RegistryPoller
from streams.runtime.lifecycle import ShutdownSignal, configure_logging, run_until_signal, use_single_malloc_arena
from streams.runtime.metrics_report import Report, Reporter
from streams.settings import ProcessorSettings
from warehouse import metrics, queries
from warehouse.client import connect
from warehouse.errors import WarehouseBusy, WarehouseError


class Runnable(Protocol):
    """What works until it is told to stop."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""

    def assigned_partitions(self) -> Collection[tuple[str, int]] | None:
        """The partitions that are its to move now, by topic; None while that is not settled."""


def run_sketcher(settings: ProcessorSettings) -> int:
    """Run a sketcher until SIGTERM or SIGINT; return the exit code."""

    def work(kit: _Kit, stopping: ShutdownSignal) -> None:
        from streams.sketcher.sketcher import GROUP, Sketcher

        require_rights(settings, "sketcher")
        _partials_topic(settings)
        kit.work(Sketcher(settings, kit.registry, kit.report), GROUP, [_source(settings, "predictions")], stopping)

    return _run("sketcher", settings, work)


def run_recorder(settings: ProcessorSettings) -> int:
    """Run a recorder until SIGTERM or SIGINT; return the exit code."""

    def work(kit: _Kit, stopping: ShutdownSignal) -> None:
        from streams.recorder.recorder import GROUP, Recorder

        require_rights(settings, "recorder")
        _partials_topic(settings)
        sources = [_source(settings, "predictions"), _source(settings, "labels")]
        kit.work(Recorder(settings, kit.registry, kit.report), GROUP, sources, stopping)

    return _run("recorder", settings, work)


def run_monitor(settings: ProcessorSettings) -> int:
    """Run a monitor until SIGTERM or SIGINT; return the exit code."""

    def work(kit: _Kit, stopping: ShutdownSignal) -> int:
        from streams.monitor.app import GROUP, run_app
        from streams.monitor.security import security_of
        from streams.monitor.state.store import WarehouseStore
        from streams.monitor.worker import Worker

        security = security_of(settings.kafka)
        require_rights(settings, "monitor")
        topic_id, partitions = _partials_topic(settings)
        client = connect(settings.warehouse)
        client.on_insert = kit.report.count_inserted
        store, topic = WarehouseStore(client), (topic_id, partitions)
        worker = Worker(settings, store, kit.registry, kit.source.refresh, topic, kit.report)
        # The last record of the topic is the marker of a commit, which nobody reads.
        partials = Source(settings.topics.partials, "partials", partitions, no_lag=1)

        def assigned_partitions() -> Collection[tuple[str, int]] | None:
            assigned = worker.assigned
            return None if assigned is None else [(partials.name, p) for p in assigned]

        kit.watch(LagMonitor(settings, GROUP, [partials], kit.report, assigned_partitions=assigned_partitions))
        return run_app(settings, worker, security, stopping)

    use_single_malloc_arena()
    return _run("monitor", settings, work)


def run_scorer(settings: ProcessorSettings) -> int:
    """Run a scorer until SIGTERM or SIGINT; return the exit code."""

    def work(kit: _Kit, stopping: ShutdownSignal) -> None:
        from streams.scorer.worker import Scorer

        Scorer(settings, kit.registry, kit.report).run(stopping.requested)

    return _run("scorer", settings, work)


class _Kit:
    """What every processor has beside its work: contracts, metrics, health."""

    def __init__(self, kind: str, settings: ProcessorSettings) -> None:
        self._settings = settings
        self.report = Report(kind, settings.instance)
        counting_only = kind in ("sketcher", "recorder")
        self.source = RegistryPoller(settings.warehouse, settings.registry_poll_s, counting_only=counting_only)
        self.registry = self.source.current
        self.report.set_function(metrics.REGISTRY_AGE, self.source.age_s)
        self.report.set_function(metrics.REGISTRY_READABLE, lambda: float(self.source.is_readable()))
        self._watchdog = Watchdog(self.report, patience=SCORER_STALL_TIMEOUTS if kind == "scorer" else None)
        self._reporter = Reporter(self.report, settings.warehouse, settings.report_s)
        self._endpoint: Endpoint | None = None
        if settings.metrics_port != OFF:
            self._endpoint = Endpoint(settings, self.report, self._watchdog.health)

    def start(self, stopping: ShutdownSignal) -> None:
        """Answer, watch, read contracts for the first time, report.

        Raises:
            ProcessorError: contracts cannot be read.
        """
        stopping.add_hook(self.report.heartbeat.mark_stopping)
        stopping.add_hook(self.source.stop)
        if self._endpoint is not None:
            self._endpoint.start()
        self._watchdog.start()
        self.source.start()
        self._reporter.start()

    def watch(self, offsets: LagMonitor) -> None:
        """Have the watchdog look at a group's offsets too."""
        self._watchdog.watch(offsets)

    def work(self, processor: Runnable, group: str, sources: Collection[Source], stopping: ShutdownSignal) -> None:
        """Run a processor that reads topics until it is asked to end."""
        self.watch(
            LagMonitor(self._settings, group, sources, self.report, assigned_partitions=processor.assigned_partitions)
        )
        processor.run(stopping.requested)

    def stop(self) -> None:
        """End all of it; nothing that a server does not answer is waited for."""
        self.source.stop()
        self._watchdog.stop()
        self._reporter.stop()
        if self._endpoint is not None:
            self._endpoint.stop()


def _run(kind: str, settings: ProcessorSettings, work: Callable[[_Kit, ShutdownSignal], int | None]) -> int:
    configure_logging()

    def all_of_it(stopping: ShutdownSignal) -> int | None:
        kit = _Kit(kind, settings)
        try:
            kit.start(stopping)
            return work(kit, stopping)
        except (WarehouseBusy, WarehouseError) as error:
            raise ProcessorError(str(error)) from error
        finally:
            kit.stop()

    return run_until_signal(kind, settings.instance, all_of_it)


def _source(settings: ProcessorSettings, label: str) -> Source:
    return Source(getattr(settings.topics, label), label)


def _partials_topic(settings: ProcessorSettings) -> tuple[str, int]:
    """The id and the partitions of `partials`, which must be as many as `apply` recorded.

    Raises:
        ProcessorError: the count changed: a model's parts would then lie on two partitions.
    """
    name = settings.topics.partials
    topic_id, partitions = TopicMetadata(settings).describe(name)
    with connect(settings.warehouse) as client:
        recorded = [row.partitions for row in queries.topics(client) if row.name == name and row.topic_id == topic_id]
    if recorded and recorded[-1] != partitions:
        raise ProcessorError(
            f"Topic {name} has {partitions} partitions, and `barograph apply` recorded {recorded[-1]}: the parts of "
            "one model must not lie on two. Delete the topic and run `barograph apply`, which makes it anew."
        )
    return topic_id, partitions
