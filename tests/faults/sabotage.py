"""Safeguards of the product, disabled one at a time in a processor; the harness must detect every one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.faults.kill_points import KillPoints


@dataclass(frozen=True)
class Sabotage:
    name: str
    kind: str
    install: Callable[[KillPoints], None]
    killed: tuple[str, str]
    """The kind of processor, and its kill point at which a kill exposes the missing safeguard."""


class _NonTransactionalProducer:
    """Replaces a transactional producer: records are visible at once, offsets are committed after them."""

    def __init__(self, settings: Any, points: KillPoints) -> None:
        from confluent_kafka import Producer

        options = {"bootstrap.servers": settings.bootstrap_servers, "linger.ms": 5, "message.max.bytes": 2_000_000}
        self._producer, self._places, self._n_messages = Producer(options), points, 0
        self.consumer: Any = None

    def init_transactions(self, *_: Any) -> None: ...

    def begin_transaction(self) -> None:
        self._n_messages = 0

    def abort_transaction(self, *_: Any) -> None: ...

    def commit_transaction(self, *_: Any) -> None: ...

    def poll(self, timeout_s: float) -> None:
        self._producer.poll(timeout_s)

    def produce(self, *args: Any, **kwargs: Any) -> None:
        self._producer.produce(*args, **kwargs)
        self._n_messages += 1

    def send_offsets_to_transaction(self, offsets: Any, *_: Any) -> None:
        assert self._producer.flush(30) == 0
        if self._n_messages > 2:
            self._places.stop_at("in-transaction")
        self.consumer.commit(offsets=offsets, asynchronous=False)


def _no_transaction(points: KillPoints) -> None:
    from barograph_server.streams.sketcher.sketcher import Sketcher

    original = Sketcher.__init__

    def init(self: Any, settings: Any, *args: Any, **kwargs: Any) -> None:
        original(self, settings, *args, **kwargs)
        self._transactions._producer = _NonTransactionalProducer(settings, points)
        self._transactions._producer.consumer = self._consumer.kafka_consumer

    Sketcher.__init__ = init  # type: ignore[method-assign]


def _read_uncommitted(points: KillPoints) -> None:
    from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

    from barograph_server.streams.monitor import app

    app.CommittedOnlyThread._create_worker_consumer = AIOKafkaConsumerThread._create_worker_consumer  # type: ignore[method-assign]


def _no_record_seq(points: KillPoints) -> None:
    from barograph_server.streams.monitor.partition import PartitionState
    from barograph_server.streams.monitor.state.series import Series

    merge, init = Series.merge, PartitionState.__init__

    def merge_always(self: Any, pane: Any, partial: Any, record_seq: int, *, late: bool) -> bool:
        pane.record_seq[:] = np.minimum(pane.record_seq, record_seq - 1)
        return merge(self, pane, partial, record_seq, late=late)

    def init_without_progress(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self._processed_seq = -1

    Series.merge = merge_always  # type: ignore[method-assign]
    PartitionState.__init__ = init_without_progress  # type: ignore[method-assign]


def _monitor_acknowledges_first(points: KillPoints) -> None:
    from barograph_server.streams.monitor.worker import Worker

    handle = Worker.handle

    def acknowledged(self: Any, record: Any) -> int:
        handle(self, record)
        return int(record.offset) + 1

    Worker.handle = acknowledged  # type: ignore[method-assign]


def _recorder_acknowledges_first(points: KillPoints) -> None:
    from barograph_server.streams.recorder.recorder import Recorder

    write, commit = Recorder._write, Recorder._commit

    def commit_then_write(self: Any, batch: Any, stop: Any) -> bool:
        commit(self, batch)
        return write(self, batch, stop)

    Recorder._write = commit_then_write  # type: ignore[method-assign]
    Recorder._commit = lambda self, batch: None  # type: ignore[method-assign]


class _UnfencedProducer(_NonTransactionalProducer):
    def commit_transaction(self, *_: Any) -> None:
        assert self._producer.flush(30) == 0


def _no_fence(points: KillPoints) -> None:
    from barograph_server.streams.broker import compacted_log

    vars(compacted_log)["transactional_producer"] = lambda settings, _name: _UnfencedProducer(settings, points)


NO_FENCE = Sabotage("fence between guards removed", "guard", _no_fence, ("guard", "before-publish"))
"""The sabotage of the scenario `guard`; the others are those of the trials."""

SABOTAGES = {
    each.name: each
    for each in (
        Sabotage("transaction removed", "sketcher", _no_transaction, ("sketcher", "in-transaction")),
        Sabotage("read_committed removed", "monitor", _read_uncommitted, ("sketcher", "in-transaction")),
        Sabotage("record_seq check removed", "monitor", _no_record_seq, ("monitor", "written")),
        *(
            Sabotage(f"{kind} acknowledges before it {verb}s", kind, install, (kind, f"before-{verb}"))
            for kind, verb, install in (
                ("monitor", "write", _monitor_acknowledges_first),
                ("recorder", "insert", _recorder_acknowledges_first),
            )
        ),
    )
}
