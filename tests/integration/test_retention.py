"""If retention overtakes stopped processors, they report the deleted offsets as lost and continue reading."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.pipeline import Pipeline, simple_baseline, simple_contract
from tests.support.toy_events import START_MS, messages, toy_event


def send(pipeline: Pipeline, first: int, n: int) -> None:
    pipeline.produce(messages(toy_event(i, START_MS + i * 60_000) for i in range(first, first + n)))


def test_offsets_deleted_by_retention_are_reported_as_lost(pipeline: Pipeline) -> None:
    pipeline.create(1)
    pipeline.register(simple_contract(), [simple_baseline()])
    send(pipeline, 0, 300)
    for kind in ("monitor", "sketcher", "recorder"):
        pipeline.start(kind)
    pipeline.wait_rows("SELECT sum(n) = 300 FROM volume FINAL WHERE slice = 'all'", "300 events")
    pipeline.wait_rows("SELECT max(events) = 300 FROM processors WHERE kind = 'recorder'", "300 raw rows")
    pipeline.stop()
    send(pipeline, 300, 300)
    admin = AdminClient({"bootstrap.servers": pipeline.bootstrap})
    first_kept = TopicPartition(pipeline.topics.predictions, 0, 450)
    for future in admin.delete_records([first_kept]).values():
        future.result(30)
    for kind in ("monitor", "sketcher", "recorder"):
        pipeline.start(kind)
    pipeline.end(1)
    pipeline.wait_rows("SELECT sum(n) = 450 AND min(sealed) FROM volume FINAL WHERE slice = 'all'", "the rest")
    pipeline.wait_settled()
    lost = pipeline.rows("SELECT source_partition, start_offset, end_offset, offsets FROM lost_ranges")
    assert lost == [(0, 300, 450, 150)]
    # Minutes 300 to 450 are in hours 5 to 7: windows around them are incomplete, all others complete.
    windows = pipeline.rows(
        "SELECT intDiv(toUnixTimestamp64Milli(toDateTime64(window_end, 3)) - {start:Int64}, 3600000) AS hour, "
        "min(completeness), any(n) FROM latest_drift WHERE window = '3h' AND slice = 'all' AND n > 0 "
        "GROUP BY hour ORDER BY hour",
        {"start": START_MS},
    )
    completeness = {hour: share for hour, share, _ in windows}
    n = {hour: count for hour, _, count in windows}
    assert completeness[4] == 1.0
    assert completeness[6] == pytest.approx(n[6] / (n[6] + 150))
    assert completeness[8] == pytest.approx(n[8] / (n[8] + 150))
    assert min(completeness.values()) < 1.0
    pipeline.wait_rows(
        "SELECT argMax(details, at) AS last, last['offsets_lost_total predictions'] = 150 "
        "AND last['lag_messages predictions'] = 0 AND last['inserted_rows_total predictions'] = 150 AS reported "
        "FROM processors WHERE kind = 'recorder' HAVING reported",
        "the recorder's report",
    )
    raw = pipeline.rows("SELECT offset FROM predictions FINAL ORDER BY offset")
    assert [offset for (offset,) in raw] == [*range(300), *range(450, 600)]
