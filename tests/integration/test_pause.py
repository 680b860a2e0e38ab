"""A partition that waits for slower ones is read on after a rebalance: librdkafka keeps it paused over `assign`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition

from streams.records import Progress, decode
from streams.registry import RegisteredBaseline, build_registry
from streams.report import Report
from streams.settings import ProcessorSettings
from streams.sketcher import MAX_AHEAD_MS, Sketcher
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for

START_MS = 1_790_000_000_000


@pytest.fixture
def sketcher(pipeline: Pipeline) -> Iterator[Sketcher]:
    pipeline.create(2)
    baseline = simple_baseline()
    registry = build_registry([(simple_contract(), 0)], [RegisteredBaseline(baseline, baseline.id, 0, 0)])
    settings = ProcessorSettings(
        instance="s",
        bootstrap_servers=pipeline.bootstrap,
        warehouse=pipeline.address,
        topics=pipeline.topics,
        clock="replay",
        flush_s=0.3,
    )
    made = Sketcher(settings, lambda: registry, Report("sketcher", "s"))
    made._transactions.start()
    made._consumer.subscribe([made._topic], on_assign=made._on_assign, on_revoke=made._on_revoke)
    yield made
    made._consumer.close()


def send(pipeline: Pipeline, partition: int, first_ms: int, n: int = 10) -> None:
    features = {"x": 0.1, "k": 1, "flag": True, "colour": "red"}
    pipeline.produce(
        (
            partition,
            json.dumps(
                {
                    "model": "toy",
                    "version": "1",
                    "id": f"{partition}-{first_ms}-{i}",
                    "at": first_ms + i,
                    "features": features,
                }
            ).encode(),
            None,
        )
        for i in range(n)
    )


def covered(pipeline: Pipeline) -> dict[int, int]:
    """How far the committed progress records cover each source partition."""
    ends: dict[int, int] = {}
    for message in pipeline.read_all(pipeline.topics.parts):
        record = decode(message.value())
        if isinstance(record, Progress):
            for read in record.ranges:
                ends[read.partition] = max(ends.get(read.partition, 0), read.end)
    return ends


def flush_until(pipeline: Pipeline, sketcher: Sketcher, ends: dict[int, int]) -> None:
    stop = threading.Event()

    def look() -> bool:
        try:
            sketcher.flush_once(stop)
        except Exception as error:
            if type(error).__name__ != "_Rebalanced":
                raise
            sketcher._restart()
        return covered(pipeline) == ends

    wait_for(look, f"offsets {ends} to be covered")


def test_a_paused_partition_is_read_after_the_next_assignment(pipeline: Pipeline, sketcher: Sketcher) -> None:
    send(pipeline, 0, START_MS)
    send(pipeline, 1, START_MS)
    flush_until(pipeline, sketcher, {0: 10, 1: 10})
    waiting = [TopicPartition(pipeline.topics.predictions, 1)]
    sketcher._consumer.pause(waiting)
    sketcher._paused = {1}
    sketcher._restart()
    assert sketcher._paused == set()
    send(pipeline, 1, START_MS + 1000)
    flush_until(pipeline, sketcher, {0: 10, 1: 20})


def test_a_partition_far_ahead_waits_and_nothing_is_missed(pipeline: Pipeline, sketcher: Sketcher) -> None:
    paused: list[set[int]] = []
    hold_back = sketcher._hold_back

    def watched(flush: object) -> None:
        hold_back(flush)  # type: ignore[arg-type]
        paused.append(set(sketcher._paused))

    sketcher._hold_back = watched  # type: ignore[method-assign]
    # Partition 1 jumps ahead at once; partition 0 has so much that it is not at its end when that shows.
    send(pipeline, 1, START_MS + 2 * MAX_AHEAD_MS, n=500)
    send(pipeline, 0, START_MS, n=60_000)
    flush_until(pipeline, sketcher, {0: 60_000, 1: 500})
    assert {1} in paused, "it never waited: the test shows nothing"
    assert sketcher._report.events == 60_500
