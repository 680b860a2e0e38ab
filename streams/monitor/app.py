"""The only module that knows Faust: it brings records of `partials` to the worker and acknowledges what is durable.

Facts that shaped it, each pinned by a test: only `noack().events()` with acknowledgements in order survives an
exception; under `at_least_once` Faust reads uncommitted records unless its consumer is told otherwise; with
`stream_wait_empty` a rebalance waits for acknowledgements that are withheld on purpose.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import faust
import structlog
from faust import SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from mode.supervisors import CrashingSupervisor

from streams.monitor.security import Security
from streams.monitor.worker import NOTHING, Incoming, Superseded, Worker
from streams.runtime.lifecycle import ShutdownSignal
from streams.settings import ProcessorSettings

GROUP = "monitor"
PLAIN = Security()
BEAT_S = 1.0
"""How often the event loop shows that it comes round."""
BUFFERED = 256
"""Records that are read ahead, those of wide models of up to a hundred kilobytes each; Faust's default is 4,096."""
log = structlog.get_logger()


class CommittedOnlyThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """A consumer thread that never sees the parts of aborted transactions, of a member known by its instance's name."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        # Faust decides the isolation level by this flag alone while it builds the consumer.
        before = self.consumer.in_transaction
        self.consumer.in_transaction = True
        try:
            made = super()._create_worker_consumer(transport)
        finally:
            self.consumer.in_transaction = before
        # Faust has no setting for it (KIP-345); the group is joined with it once the consumer starts.
        made._group_instance_id = self.consumer.app.member_name
        return made

    async def keep_place(self) -> None:
        """Count as polled, though no records are wanted: else the group takes the partitions away.

        Faust has its own way to pause partitions; what it had fetched of them by then it drops and never reads again.
        """
        await self.call_thread(self._polled)

    async def _polled(self) -> None:
        if self._consumer is not None:
            with self._consumer._fetcher._subscriptions.fetch_context():
                pass


class CommittedOnlyConsumer(Consumer):  # type: ignore[misc]
    """A consumer on such a thread."""

    def _new_consumer_thread(self) -> Any:
        return CommittedOnlyThread(self, loop=self.loop, beacon=self.beacon)


class CommittedOnlyTransport(Transport):  # type: ignore[misc]
    """A transport with such consumers."""

    Consumer = CommittedOnlyConsumer


def credentials(security: Security) -> Any:
    """What Faust is given to speak to Kafka so; None without TLS and SASL."""
    if security.mechanism:
        return SASLCredentials(
            username=security.username,
            password=security.password,
            mechanism=security.mechanism,
            ssl_context=security.tls,
        )
    return None if security.tls is None else SSLCredentials(security.tls)


class DisklessApp(faust.App):  # type: ignore[misc]
    """An app that makes no folders: all of its state is in the warehouse."""

    def _create_directories(self) -> None:
        pass


class DeafWorker(faust.Worker):  # type: ignore[misc]
    """A Faust worker that is told of signals by others: a loop that hangs would not notice them."""

    def install_signal_handlers(self) -> None:
        pass


def make_app(settings: ProcessorSettings, worker: Worker, security: Security = PLAIN) -> Any:
    """Build the Faust app of a monitor."""
    app = DisklessApp(
        f"{settings.topics.prefix}{GROUP}",
        broker=[f"kafka://{server}" for server in settings.bootstrap_servers.split(",")],
        broker_credentials=credentials(security),
        processing_guarantee="at_least_once",
        stream_wait_empty=False,
        stream_buffer_maxsize=BUFFERED,
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
        worker.supersede(app.consumer_generation_id + 1)

    @app.on_partitions_assigned.connect  # type: ignore[untyped-decorator]
    async def on_assigned(_app: Any, assigned: Any, **_: Any) -> None:
        pending.clear()
        worker.assigned = sorted(t.partition for t in assigned)
        log.info("assigned", processor="monitor", instance=settings.instance, partitions=worker.assigned)

    @app.task  # type: ignore[untyped-decorator]
    async def heartbeat() -> None:
        while True:
            worker.heartbeat.beat()
            if worker.heartbeat.blockage is not None:
                # The worker keeps its record, Faust's buffer fills up, and then nobody polls.
                await app.consumer._thread.keep_place()
            await asyncio.sleep(BEAT_S)

    @app.agent(topic, concurrency=1)  # type: ignore[untyped-decorator]
    async def partials(stream: Any) -> None:
        loop = asyncio.get_running_loop()
        async for event in stream.noack().events():
            message = event.message
            received_ms = round(message.timestamp * 1000)
            record = Incoming(message.partition, message.offset, message.value, message.generation_id, received_ms)
            if record.generation != app.consumer_generation_id:
                continue
            waiting = pending.setdefault(record.partition, deque())
            waiting.append(event)
            try:
                durable = await loop.run_in_executor(thread, worker.handle, record)
            except Superseded:
                continue
            except Exception as error:
                log.exception("stopping", processor="monitor", reason=f"{type(error).__name__}: {error}")
                raise
            if durable == NOTHING or record.generation != app.consumer_generation_id:
                continue
            while waiting and waiting[0].message.offset < durable:
                waiting.popleft().ack()

    return app


def run_app(
    settings: ProcessorSettings, worker: Worker, security: Security = PLAIN, stopping: ShutdownSignal | None = None
) -> int:
    """Run until an error, or until asked to end; return the exit code (0 asked to, 1 otherwise).

    Args:
        settings: of the processor.
        worker: does the work.
        security: how it speaks to Kafka.
        stopping: asks to end; None where Faust takes SIGTERM and SIGINT itself.
    """
    app = make_app(settings, worker, security)
    try:
        kind = faust.Worker if stopping is None else DeafWorker
        process = kind(app, loglevel="WARNING", quiet=True, redirect_stdouts=False)
        process.spinner = None  # It would write terminal codes into the log.
        if stopping is not None:
            stopping.add_hook(worker.stop)
            stopping.add_hook(lambda: _ask_to_end(process))
        process.execute_from_commandline()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        worker.stop()
    return 0


def _ask_to_end(process: Any) -> None:
    """Do from another thread what Faust does at a signal; nothing where its loop has ended by now."""
    with suppress(RuntimeError):
        process.loop.call_soon_threadsafe(process._on_sigterm)
