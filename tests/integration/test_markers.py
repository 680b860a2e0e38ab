"""Aborted messages and transaction markers in a source topic reach no reader and delay no pane and no watchdog."""

from __future__ import annotations

import json
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from barograph_server.streams.broker.consumer_lag import PEEK_AFTER_S, LagMonitor, SourceTopic
from barograph_server.streams.runtime.metrics_report import Report
from tests.support.pipeline import Pipeline
from tests.support.sketching import flush_until, open_sketcher, settings_of
from tests.support.toy_events import START_MS, messages, toy_event


def send_in_transactions(pipeline: Pipeline, committed: int, aborted: int) -> int:
    """Send messages as a replay of dead letters does, and return the end of the partition."""
    producer = Producer({"bootstrap.servers": pipeline.bootstrap, "transactional.id": f"{pipeline.prefix}replay"})
    producer.init_transactions(30)
    for n, end in ((committed, producer.commit_transaction), (aborted, producer.abort_transaction)):
        producer.begin_transaction()
        for i in range(n):
            producer.produce(pipeline.topics.predictions, json.dumps(toy_event(i, START_MS)).encode(), partition=0)
        producer.flush(30)
        end(30)
    return committed + aborted + 2


def test_partition_that_ends_with_transactions_is_read_to_its_end(pipeline: Pipeline) -> None:
    pipeline.create(2)
    end = send_in_transactions(pipeline, 5, 3)
    with open_sketcher(pipeline, flush_s=0.3) as sketcher:
        flush_until(pipeline, sketcher, {0: end, 1: 0})
        assert sketcher._report.events == 5
        # Later events are read too.
        pipeline.produce(messages([toy_event(9, START_MS)]))
        flush_until(pipeline, sketcher, {0: end + 1, 1: 0})
        assert sketcher._report.events == 6


def test_watchdog_ignores_markers_and_aborted_messages(pipeline: Pipeline) -> None:
    pipeline.create(1)
    send_in_transactions(pipeline, 5, 3)
    topic, group = pipeline.topics.predictions, f"{pipeline.prefix}recorder"
    consumer = Consumer({"bootstrap.servers": pipeline.bootstrap, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)
    consumer.close()
    now: dict[str, float] = {"s": 0.0}
    report = Report("recorder", "r")
    options: dict[str, Any] = {"assigned_partitions": lambda: [(topic, 0)], "clock": lambda: now["s"]}
    offsets = LagMonitor(settings_of(pipeline), "recorder", [SourceTopic(topic, "predictions")], report, **options)
    assert offsets.check() is None
    assert report.lag == 5
    now["s"] = PEEK_AFTER_S + 1
    assert offsets.check() is None
    assert report.lag == 0
    pipeline.produce(messages([toy_event(9, START_MS)]))
    now["s"] = 100.0
    stall = offsets.check()
    assert stall is not None
    assert (stall.partition, report.lag) == ((topic, 0), 6)
    offsets.close()
