"""A partition that waits for slower ones is read on after a rebalance: librdkafka keeps it paused over `assign`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition

from streams.sketcher import MAX_AHEAD_MS, Sketcher
from tests.support.pipeline import Pipeline
from tests.support.sketching import flush_until, open_sketcher

START_MS = 1_790_000_000_000


@pytest.fixture
def sketcher(pipeline: Pipeline) -> Iterator[Sketcher]:
    pipeline.create(2)
    with open_sketcher(pipeline, flush_s=0.3) as made:
        yield made


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
