"""The offset ledger: adjacent ranges, losses between them, and watermarks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.monitor.state.offset_ledger import (
    ENDED_MS,
    EVERY_MODEL,
    Loss,
    OffsetLedger,
    make_record_seq,
)
from barograph_server.streams.records import PartitionProgress, Progress


def covered(partition: int, start: int, end: int, **values: Any) -> PartitionProgress:
    return PartitionProgress(partition=partition, start=start, end=end, newest_ms=values.pop("newest_ms", {}), **values)


def progress(*ranges: PartitionProgress, partitions: int = 1, topic: str = "t") -> Progress:
    return Progress(source_topic_id=topic, source_partitions=partitions, counted_at_ms=1, ranges=list(ranges))


def ledger_of(*records: Progress, live: bool = True) -> OffsetLedger:
    ledger = OffsetLedger()
    for record_seq, record in enumerate(records, 1):
        ledger.advance(record, record_seq, live=live)
    return ledger


def test_record_seq_orders_records_across_incarnations() -> None:
    assert make_record_seq(0, 5) == 5
    ascending = [make_record_seq(*each) for each in ((0, 2**48 - 1), (1, 0), (1, 1), (2**15 - 1, 0))]
    assert ascending == sorted(set(ascending))
    assert ascending[-1] < 2**63


def test_gap_is_a_loss_with_the_times_around_it() -> None:
    ledger = ledger_of(
        progress(covered(0, 500, 510, newest_ms={"m": 1000})),
        progress(covered(0, 515, 520, newest_ms={"m": 9000}, oldest_ms=5000)),
    )
    # The ledger starts where the log starts.
    assert ledger.losses == ledger.new_losses == [Loss(0, 510, 515, 1000, 5000, "gap", 2)]
    assert (ledger.losses[0].offsets, ledger.rows[0].end) == (5, 520)
    # A gap before silence extends to the time of catching up.
    ledger = ledger_of(
        progress(covered(0, 0, 10, newest_ms={"m": 1000})),
        progress(covered(0, 15, 15, caught_up_at_ms=7000)),
        progress(covered(0, 20, 20)),
    )
    assert [(loss.from_ms, loss.to_ms) for loss in ledger.losses] == [(1000, 7000), (7000, ENDED_MS)]


def test_redelivered_record_changes_nothing() -> None:
    ledger = OffsetLedger()
    for record_seq, (start, end) in enumerate([(0, 10), (15, 20), (20, 30)]):
        ledger.advance(progress(covered(0, start, end, newest_ms={"m": end})), record_seq, live=True)
    before = ledger.rows[0].end, dict(ledger.rows[0].watermarks), list(ledger.losses)
    redelivered = progress(covered(0, 15, 20, newest_ms={"m": 99_999}), partitions=1)
    assert not ledger.is_resketched(0, 15, "t", 1)
    ledger.advance(redelivered, 1, live=True)
    assert (ledger.rows[0].end, ledger.rows[0].watermarks, ledger.losses) == before


def test_reset_offsets_are_a_resketch_and_only_new_ones_are_lost() -> None:
    ledger = OffsetLedger()
    ledger.advance(progress(covered(0, 0, 10, newest_ms={"m": 1000}), covered(1, 0, 4), partitions=2), 1, live=True)
    assert ledger.is_resketched(0, 3, "t", 2)
    assert not ledger.is_resketched(0, 10, "t", 2)
    assert not ledger.is_resketched(0, 3, "another topic", 2)
    assert not ledger.is_resketched(7, 0, "t", 2)
    ledger.record_resketch(progress(covered(0, 3, 14, oldest_ms=500), covered(1, 2, 4)), 2)
    assert [(loss.source_partition, loss.start, loss.end, loss.reason) for loss in ledger.losses] == [
        (0, 10, 14, "re-sketch")
    ]
    assert (ledger.rows[0].end, ledger.rows[1].end) == (14, 4)


def test_new_source_topic_restarts_without_a_loss_and_a_second_one_is_rejected() -> None:
    ledger = ledger_of(progress(covered(0, 0, 100)), progress(covered(0, 0, 5), topic="second"))
    assert (ledger.losses, ledger.rows[0].end) == ([], 5)
    ledger.advance(progress(covered(0, 0, 100)), 1, live=True)
    assert ledger.rows[0].end == 5, "a redelivered record of the replaced topic changes nothing"
    with pytest.raises(ProcessorError, match=r"two source topics .* an installation has one source topic"):
        ledger.advance(progress(covered(0, 100, 110)), 3, live=True)
    assert ledger.rows[0].end == 5
    ledger.advance(progress(covered(0, 8, 9), topic="second"), 3, live=True)
    assert [(loss.start, loss.end) for loss in ledger.losses] == [(5, 8)]


def test_watermark_is_the_lowest_of_all_partitions_and_never_decreases() -> None:
    ledger = OffsetLedger()
    assert ledger.watermark_ms("m", 10) is None
    ledger.advance(progress(covered(0, 0, 1, newest_ms={"m": 1000}), partitions=2), 1, live=True)
    assert ledger.watermark_ms("m", 10) is None, "partition 1 is not read yet"
    ledger.advance(progress(covered(1, 0, 1, newest_ms={"other": 5000}), partitions=2), 2, live=True)
    assert ledger.watermark_ms("m", 10) is None, "partition 1 has no event of the model"
    ledger.advance(progress(covered(1, 1, 1, caught_up_at_ms=800), partitions=2), 3, live=True)
    assert ledger.watermark_ms("m", 10) == 790
    ledger.advance(progress(covered(1, 1, 1, caught_up_at_ms=4000), partitions=2), 4, live=True)
    assert ledger.watermark_ms("m", 10) == 990
    ledger.advance(progress(covered(0, 1, 2, newest_ms={"m": 400}), partitions=2), 5, live=True)
    assert ledger.watermark_ms("m", 10) == 990, "it never decreases"


def test_added_partition_holds_back_the_watermark() -> None:
    ledger = OffsetLedger()
    ledger.advance(progress(covered(0, 0, 1, newest_ms={"m": 1000})), 1, live=True)
    assert ledger.watermark_ms("m", 0) == 1000
    ledger.advance(progress(covered(0, 1, 2, newest_ms={"m": 2000}), partitions=2), 2, live=True)
    assert ledger.watermark_ms("m", 0) is None
    # A record written before the new partition was noticed does not remove it.
    ledger.advance(progress(covered(0, 2, 3, newest_ms={"m": 3000}), partitions=1), 3, live=True)
    assert ledger.partitions == 2
    assert ledger.watermark_ms("m", 0) is None
    ledger.advance(progress(covered(1, 0, 0, caught_up_at_ms=2500), partitions=2), 4, live=True)
    assert ledger.watermark_ms("m", 0) == 2500


def test_sketcher_clock_is_limited_to_the_broker_clock() -> None:
    ledger = OffsetLedger()
    ahead = covered(0, 0, 10, newest_ms={"m": 1000}, caught_up_at_ms=3_600_000)
    ledger.advance(progress(ahead), 1, live=True, received_ms=5000)
    assert ledger.watermark_ms("m", 0) == 5000
    # A later loss may be older than that clock.
    ledger.advance(progress(covered(0, 15, 20, oldest_ms=9000)), 2, live=True, received_ms=9500)
    assert [(loss.from_ms, loss.to_ms) for loss in ledger.losses] == [(5000, 9000)]
    ledger.advance(progress(covered(0, 20, 20, caught_up_at_ms=9900)), 3, live=True, received_ms=10_000)
    assert ledger.watermark_ms("m", 0) == 9900


def test_in_a_replay_idleness_advances_no_watermark_and_end_markers_advance_all() -> None:
    ledger = OffsetLedger()
    ledger.advance(progress(covered(0, 0, 1, newest_ms={"m": 1000}, caught_up_at_ms=10**12)), 1, live=False)
    assert ledger.watermark_ms("m", 0) == 1000
    assert EVERY_MODEL not in ledger.rows[0].watermarks
    ledger.advance(progress(covered(0, 1, 2, end_mark=True)), 2, live=False)
    assert ledger.watermark_ms("m", 600_000) == ENDED_MS
    assert ledger.watermark_ms("a model without events", 600_000) == ENDED_MS


def test_loss_counts_once_in_every_window_that_may_contain_its_events() -> None:
    loss = Loss(0, 10, 15, 10_000, 20_000, "gap", 1)
    assert not loss.overlaps(0, 9_000, 1_000)
    assert loss.overlaps(0, 9_001, 1_000)
    assert loss.overlaps(21_000, 30_000, 1_000)
    assert not loss.overlaps(21_001, 30_000, 1_000)
    ledger = OffsetLedger(losses=[loss, Loss(1, 0, 2, 0, ENDED_MS, "gap", 2)])
    assert ledger.lost_offsets(12_000, 13_000, 0) == 7
    assert ledger.lost_offsets(50_000, 60_000, 0) == 2
    ledger = OffsetLedger(losses=[Loss(0, 10, 15, 1000, 5000, "gap", 2)])
    ledger.advance(progress(covered(0, 0, 10, newest_ms={"m": 1000})), 1, live=True)
    ledger.advance(progress(covered(0, 15, 20, oldest_ms=5000)), 2, live=True)
    assert ledger.lost_offsets(0, 10_000, 0) == 5
    assert len(ledger.new_losses) == 1, "it is written again: the row may not have been"


def test_late_event_after_a_gap_does_not_define_its_end() -> None:
    for newest, until in (({"m": 9000}, 9000), ({"m": 2900}, 30_000), ({}, 30_000)):
        ledger = OffsetLedger()
        ledger.advance(progress(covered(0, 0, 10, newest_ms={"m": 3000})), 1, live=False)
        after = progress(covered(0, 15, 20, newest_ms=newest, oldest_ms=500))
        ledger.advance(msgspec.structs.replace(after, counted_at_ms=30_000), 2, live=False)
        assert [(loss.from_ms, loss.to_ms) for loss in ledger.losses] == [(3000, until)]
