"""Paused partitions are read after a rebalance, and large batches fetched at once are counted flush by flush."""

import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, encode_arrow

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.streams.events.batch import MAX_ARROW_MESSAGES
from barograph_server.streams.records import Partial, Progress, decode
from barograph_server.streams.sketcher.flush import Flush
from barograph_server.streams.sketcher.sketcher import MAX_AHEAD_MS
from tests.support.pipeline import Pipeline, wait_for
from tests.support.sketching import flush_until, open_sketcher
from tests.support.toy_events import START_MS, messages, toy_event


def send(pipeline: Pipeline, partition: int, first_ms: int, n: int = 10) -> None:
    events = (toy_event(i, first_ms + i) for i in range(n))
    pipeline.produce((partition, value, headers) for _, value, headers in messages(events))


def test_a_paused_partition_is_read_later_and_after_the_next_assignment(pipeline: Pipeline) -> None:
    pipeline.create(2)
    # A response has one batch of each partition, and few of them are fetched before they are read.
    limits = {"fetch.message.max.bytes": "10000", "queued.max.messages.kbytes": "1000"}
    with open_sketcher(pipeline, flush_s=0.3, kafka=limits) as sketcher:
        paused: list[set[int]] = []
        pause_ahead = sketcher.pause_ahead

        def recorded(flush: Flush) -> None:
            pause_ahead(flush)
            paused.append({partition for _, partition in sketcher._consumer.paused})

        sketcher.pause_ahead = recorded  # type: ignore[method-assign]
        # Partition 1 jumps ahead at once; partition 0 has so many events that it is not read to its end by then.
        send(pipeline, 1, START_MS + 2 * MAX_AHEAD_MS, n=500)
        send(pipeline, 0, START_MS, n=60_000)
        flush_until(pipeline, sketcher, {0: 60_000, 1: 500})
        assert {1} in paused, "it was never paused: the test proves nothing"
        assert sketcher._report.events == 60_500
        sketcher._consumer.pause([(pipeline.topics.predictions, 1)])
        sketcher._consumer.restart()
        assert sketcher._consumer.paused == set()
        send(pipeline, 1, START_MS + 2 * MAX_AHEAD_MS)
        flush_until(pipeline, sketcher, {0: 60_000, 1: 510})


INTERVAL_S = 6.0
"""`max.poll.interval.ms`, set low: a member that does not poll for so long is removed from its group."""
RECORDS = 6_000
"""More than Faust buffers for an agent by default: 4,096."""


@pytest.mark.long
def test_a_long_outage_removes_no_processor_from_its_group(
    broker: LocalKafka, topic_prefix: str, tmp_path: Path
) -> None:
    with LocalClickHouse(tmp_path / "engine", port=0) as engine:
        port, address = engine.port, engine.address("away")
        pipeline = Pipeline(broker.bootstrap_servers, address, topic_prefix, tmp_path, partials_partitions=1)
        pipeline.prepare()
        pipeline.start_all("recorder", "monitor", max_poll_interval_s=INTERVAL_S)
        for kind in ("recorder", "monitor"):
            wait_for(partial(logged, pipeline, f"{kind}-0", "assigned"), f"partitions of the {kind}")
    try:
        # Each processor has rows to write, and more records to read than it can buffer.
        send(pipeline, 0, START_MS, n=RECORDS)
        pipeline.produce([(0, b"no record", None)] * RECORDS, pipeline.topics.partials)
        for kind in ("recorder", "monitor"):
            wait_for(partial(logged, pipeline, f"{kind}-0", "warehouse busy"), f"the {kind} to wait")
        until_s = time.monotonic() + 3 * INTERVAL_S
        wait_for(lambda: time.monotonic() > until_s, "an outage of three intervals")
        pipeline.alive()
        with LocalClickHouse(tmp_path / "engine", port=port):
            pipeline.wait_rows(f"SELECT count() = {RECORDS} FROM predictions FINAL", "every row")
            dead = f"SELECT max(dead_letters) = {RECORDS} FROM processors WHERE kind = 'monitor'"
            pipeline.wait_rows(dead, "every record of `partials` to be read")
            pipeline.wait_rows("SELECT max(retries) > 0 FROM processors WHERE kind = 'recorder'", "retries reported")
            pipeline.stop()
            assert (tmp_path / "recorder-0.log").read_text().count('"event": "warehouse writes again"') == 1
            for kind in ("recorder", "monitor"):
                log = (tmp_path / f"{kind}-0.log").read_text()
                assert log.count('"event": "assigned"') == 1, log
    finally:
        pipeline.stop()


def logged(pipeline: Pipeline, name: str, text: str) -> bool:
    pipeline.alive()
    return text in pipeline.log(name)


BATCH_MS = 1_790_000_000_000
ARROW = [(CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)]
ROWS = 10
MESSAGES = 3 * MAX_ARROW_MESSAGES + 7


def outcome(pipeline: Pipeline) -> tuple[int, int, int]:
    records = [decode(message.value()) for message in pipeline.read_all(pipeline.topics.partials)]
    first = [each for each in records if isinstance(each, Partial) and not each.slice_from and not each.field_from]
    counted = sum(int(partial.counts[0, 0]) for partial in first)
    flushes = sum(isinstance(record, Progress) and record.ranges[0].end > record.ranges[0].start for record in records)
    return counted, len(pipeline.read_all(pipeline.topics.predictions_dead)), flushes


def test_messages_that_exceed_a_flush_are_in_the_next_and_fetched_again_after_a_rebalance(pipeline: Pipeline) -> None:
    pipeline.create()

    def encoded(message: int) -> bytes:
        ids = [*(f"e{message * ROWS + i}" for i in range(ROWS - 1)), None]
        known = {"model": ["toy"] * ROWS, "version": ["1"] * ROWS, "features.x": [0.5] * ROWS}
        return encode_arrow(pa.table({**known, "id": ids, "at": pa.array([BATCH_MS] * ROWS, pa.int64())}))

    pipeline.produce((0, encoded(message), ARROW) for message in range(MESSAGES))
    restarted: list[int] = []
    with open_sketcher(pipeline, flush_s=2, flush_events=MAX_ARROW_MESSAGES * ROWS) as sketcher:

        def restart_once() -> None:
            if sketcher._consumer.buffered and not restarted:
                restarted.append(sketcher._consumer.buffered)
                sketcher._consumer.restart()
                assert sketcher._consumer.buffered == 0

        flush_until(pipeline, sketcher, {0: MESSAGES}, restart_once)
    assert restarted, "no message exceeded a flush: the test proves nothing"
    counted, dead, flushes = outcome(pipeline)
    assert (counted, dead) == (MESSAGES * (ROWS - 1), MESSAGES)
    assert flushes >= MESSAGES // MAX_ARROW_MESSAGES
