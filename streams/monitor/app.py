"""The only module that uses Faust: delivers records of `partials` to the worker and acknowledges the durable ones.

It relies on these facts, each pinned by a test: only `noack().events()` with acknowledgements in order survives an
exception; under `at_least_once` Faust reads uncommitted records unless its consumer is configured otherwise; with
`stream_wait_empty` a rebalance waits for acknowledgements that are withheld on purpose; records that Faust fetched
before a rebalance are dropped, and read again only if a seek follows.
"""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import faust
import structlog
from aiokafka.errors import IllegalStateError
from faust import SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from mode.supervisors import CrashingSupervisor

from barograph_server.streams.monitor.security import Security
from barograph_server.streams.monitor.worker import NOTHING, IncomingRecord, Superseded, Worker
from barograph_server.streams.runtime.lifecycle import ShutdownSignal
from barograph_server.streams.settings import ProcessorSettings

GROUP = "monitor"
PLAINTEXT = Security()
HEARTBEAT_S = 1.0
"""Interval of the event loop's heartbeat."""
WORKING_S = 60.0
"""A worker that has done a unit of work within this time keeps its partitions, however long its record takes."""
BUFFERED_RECORDS = 256
"""Records that are read ahead. Those of wide models take up to a hundred kilobytes each; Faust's default is 4,096."""
log = structlog.get_logger()


class CommittedOnlyThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """A consumer thread that reads only committed records, as a static member named after its instance."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        # Faust derives the isolation level from this flag alone when it creates the consumer.
        in_transaction = self.consumer.in_transaction
        self.consumer.in_transaction = True
        try:
            consumer = super()._create_worker_consumer(transport)
        finally:
            self.consumer.in_transaction = in_transaction
        # Faust has no setting for static membership (KIP-345). The consumer joins with this id when it starts.
        consumer._group_instance_id = self.consumer.app.member_name
        return consumer

    async def seek_to_committed(self) -> Any:
        """Seek each partition to its committed offset, or to its first record if it has none.

        Faust drops records that it fetched before a rebalance, and relies on this call to read them again. Its own
        version does nothing to a partition without a commit, whose first records would be lost without a trace.
        """
        return await self.call_thread(self._seek_to_committed)

    async def _seek_to_committed(self) -> Any:
        consumer = self._ensure_consumer()
        offsets = await consumer.seek_to_committed()
        uncommitted = [partition for partition, offset in offsets.items() if not offset]
        # Not `seek_to_beginning`, which waits for the fetcher as long as a request may take.
        for partition, offset in (await consumer.beginning_offsets(uncommitted)).items():
            consumer.seek(partition, offset)
        return offsets

    async def record_poll(self) -> None:
        """Record a poll without fetching, so that the group does not revoke the partitions.

        Faust's own pausing of partitions is no alternative: it drops the records that are already fetched and never
        reads them again.
        """
        await self.call_thread(self._record_poll)

    async def _record_poll(self) -> None:
        if self._consumer is not None:
            with self._consumer._fetcher._subscriptions.fetch_context():
                pass


class CommittedOnlyConsumer(Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> Any:
        return CommittedOnlyThread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_assigned(self, assigned: Any, generation_id: int = 0) -> None:
        """Accept records from now on: Faust's signal may follow the first of them."""
        self.app.is_assigned = True
        await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        """Seek after records were dropped, or end the process: Faust itself would log a failure and go on behind them.

        During a rebalance partitions may be revoked by now; the seek of their next assignment follows.
        """
        try:
            await super().perform_seek()
        except (IllegalStateError, AssertionError):
            raise
        except Exception as error:
            await self.crash(error)
            raise


class CommittedOnlyTransport(Transport):  # type: ignore[misc]
    """A transport whose consumers read only committed records."""

    Consumer = CommittedOnlyConsumer


def faust_credentials(security: Security) -> Any:
    """Return Faust's credentials for security settings; None without TLS and SASL."""
    if security.mechanism:
        return SASLCredentials(
            username=security.username,
            password=security.password,
            mechanism=security.mechanism,
            ssl_context=security.tls,
        )
    return None if security.tls is None else SSLCredentials(security.tls)


class DisklessApp(faust.App):  # type: ignore[misc]
    """An app that creates no folders: all of its state is in the warehouse."""

    assignment = 0
    """Number of the current assignment. Kafka's generation does not replace it: a member that rejoins after a broker's
    restart may get its former generation again."""
    is_assigned = False

    def _create_directories(self) -> None:
        pass


class SignalFreeWorker(faust.Worker):  # type: ignore[misc]
    """A Faust worker without signal handlers: they would not run while the event loop hangs."""

    def install_signal_handlers(self) -> None:
        pass


def make_app(settings: ProcessorSettings, worker: Worker, security: Security = PLAINTEXT) -> Any:
    """Create the Faust app of a monitor."""
    app = DisklessApp(
        f"{settings.topics.prefix}{GROUP}",
        broker=[f"kafka://{server}" for server in settings.bootstrap_servers.split(",")],
        broker_credentials=faust_credentials(security),
        processing_guarantee="at_least_once",
        stream_wait_empty=False,
        stream_buffer_maxsize=BUFFERED_RECORDS,
        broker_commit_interval=1.0,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=max(0.3, settings.session_timeout_s / 5),
        broker_request_timeout=max(90.0, settings.session_timeout_s * 2),
        broker_max_poll_interval=max(settings.max_poll_interval_s, settings.session_timeout_s),
        consumer_auto_offset_reset="earliest",
        table_standby_replicas=0,
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
        agent_supervisor=CrashingSupervisor,
        logging_config={
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"console": {"class": "logging.StreamHandler", "level": "WARNING"}},
            "root": {"handlers": ["console"], "level": "WARNING"},
        },
    )
    app.member_name = settings.instance
    app.transport = CommittedOnlyTransport(app.conf.broker_consumer, app)
    topic = app.topic(settings.topics.partials, value_serializer="raw", key_serializer="raw", value_type=bytes)
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="monitor")
    pending: dict[int, deque[Any]] = {}

    @app.on_partitions_revoked.connect  # type: ignore[untyped-decorator]
    async def on_revoked(_app: Any, revoked: Any, **_: Any) -> None:
        pending.clear()
        worker.assigned = None
        app.is_assigned, app.assignment = False, app.assignment + 1
        worker.supersede(app.assignment)

    @app.on_partitions_assigned.connect  # type: ignore[untyped-decorator]
    async def on_assigned(_app: Any, assigned: Any, **_: Any) -> None:
        pending.clear()
        worker.assigned = sorted(t.partition for t in assigned)
        log.info("assigned", processor="monitor", instance=settings.instance, partitions=worker.assigned)

    @app.task  # type: ignore[untyped-decorator]
    async def heartbeat() -> None:
        while True:
            worker.heartbeat.beat()
            if worker.heartbeat.blockage is not None or worker.heartbeat.idle_s() < WORKING_S:
                # While the worker keeps its record, Faust's buffer fills up and Faust stops polling.
                await app.consumer._thread.record_poll()
            await asyncio.sleep(HEARTBEAT_S)

    @app.agent(topic, concurrency=1)  # type: ignore[untyped-decorator]
    async def partials(stream: Any) -> None:
        loop = asyncio.get_running_loop()
        async for event in stream.noack().events():
            message = event.message
            received_ms = round(message.timestamp * 1000)
            record = IncomingRecord(message.partition, message.offset, message.value, app.assignment, received_ms)
            if not app.is_assigned or message.generation_id != app.consumer_generation_id:
                continue
            unacknowledged = pending.setdefault(record.partition, deque())
            unacknowledged.append(event)
            try:
                durable = await loop.run_in_executor(thread, worker.handle, record)
            except Superseded:
                continue
            except Exception as error:
                log.exception("stopping", processor="monitor", reason=f"{type(error).__name__}: {error}")
                raise
            if durable == NOTHING or record.assignment != app.assignment:
                continue
            while unacknowledged and unacknowledged[0].message.offset < durable:
                unacknowledged.popleft().ack()

    return app


def run_app(
    settings: ProcessorSettings, worker: Worker, security: Security = PLAINTEXT, shutdown: ShutdownSignal | None = None
) -> int:
    """Run until an error or a request to stop; return the exit code (0 on request, 1 otherwise).

    Args:
        shutdown: requests the stop; None if Faust handles SIGTERM and SIGINT itself.
    """
    app = make_app(settings, worker, security)
    try:
        worker_type = faust.Worker if shutdown is None else SignalFreeWorker
        process = worker_type(app, loglevel="WARNING", quiet=True, redirect_stdouts=False)
        process.spinner = None  # It would write terminal codes into the log.
        if shutdown is not None:
            shutdown.add_hook(worker.stop)
            shutdown.add_hook(lambda: _request_stop(process))
        process.execute_from_commandline()
    except SystemExit as exit_request:
        return int(exit_request.code or 0)
    finally:
        worker.stop()
    return 0


def _request_stop(process: Any) -> None:
    """Do from another thread what Faust does at a signal; nothing if its loop has ended."""
    with suppress(RuntimeError):
        process.loop.call_soon_threadsafe(process._on_sigterm)
