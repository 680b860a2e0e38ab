"""The offset ledger: ranges that follow one another, what is lost between them, and watermarks."""

from __future__ import annotations

from typing import Any

import msgspec

from streams.monitor.state.offset_ledger import ENDED_MS, EVERY_MODEL, Loss, OffsetLedger, make_record_seq
from streams.records import PartitionProgress, Progress


def read(partition: int, start: int, end: int, **told: Any) -> PartitionProgress:
    return PartitionProgress(partition=partition, start=start, end=end, newest_ms=told.pop("newest_ms", {}), **told)


def progress(*ranges: PartitionProgress, partitions: int = 1, topic: str = "t") -> Progress:
    return Progress(source_topic_id=topic, source_partitions=partitions, counted_at_ms=1, ranges=list(ranges))


def test_positions_order_over_incarnations() -> None:
    assert make_record_seq(0, 5) == 5
    assert (
        make_record_seq(0, 2**48 - 1)
        < make_record_seq(1, 0)
        < make_record_seq(1, 1)
        < make_record_seq(2**15 - 1, 0)
        < 2**63
    )


def test_a_gap_is_a_loss_with_the_times_around_it() -> None:
    ledger = OffsetLedger()
    ledger.follow(progress(read(0, 0, 10, newest_ms={"m": 1000})), 1, live=True)
    ledger.follow(progress(read(0, 15, 20, newest_ms={"m": 9000}, oldest_ms=5000)), 2, live=True)
    assert ledger.losses == ledger.new_losses == [Loss(0, 10, 15, 1000, 5000, "gap", 2)]
    assert ledger.losses[0].offsets == 5
    assert ledger.rows[0].end == 20


def test_the_chain_begins_where_the_log_begins() -> None:
    ledger = OffsetLedger()
    ledger.follow(progress(read(0, 500, 510)), 1, live=True)
    assert not ledger.losses
    assert ledger.rows[0].end == 510


def test_a_gap_before_silence_reaches_to_when_nothing_was_left() -> None:
    ledger = OffsetLedger()
    ledger.follow(progress(read(0, 0, 10, newest_ms={"m": 1000})), 1, live=True)
    ledger.follow(progress(read(0, 15, 15, caught_up_at_ms=7000)), 2, live=True)
    ledger.follow(progress(read(0, 20, 20)), 3, live=True)
    assert [(loss.from_ms, loss.to_ms) for loss in ledger.losses] == [(1000, 7000), (7000, ENDED_MS)]


def test_a_record_that_comes_again_changes_nothing() -> None:
    ledger = OffsetLedger()
    for record_seq, (start, end) in enumerate([(0, 10), (15, 20), (20, 30)]):
        ledger.follow(progress(read(0, start, end, newest_ms={"m": end})), record_seq, live=True)
    before = ledger.rows[0].end, dict(ledger.rows[0].watermarks), list(ledger.losses)
    again = progress(read(0, 15, 20, newest_ms={"m": 99_999}), partitions=1)
    assert not ledger.resketched(0, 15, "t", 1)
    ledger.follow(again, 1, live=True)
    assert (ledger.rows[0].end, ledger.rows[0].watermarks, ledger.losses) == before


def test_offsets_that_were_set_back_are_a_resketch_and_only_what_is_new_is_lost() -> None:
    ledger = OffsetLedger()
    ledger.follow(progress(read(0, 0, 10, newest_ms={"m": 1000}), read(1, 0, 4), partitions=2), 1, live=True)
    assert ledger.resketched(0, 3, "t", 2)
    assert not ledger.resketched(0, 10, "t", 2)
    assert not ledger.resketched(0, 3, "another topic", 2)
    assert not ledger.resketched(7, 0, "t", 2)
    ledger.lose_from_resketch(progress(read(0, 3, 14, oldest_ms=500), read(1, 2, 4)), 2)
    assert [(loss.source_partition, loss.start, loss.end, loss.reason) for loss in ledger.losses] == [
        (0, 10, 14, "re-sketch")
    ]
    assert (ledger.rows[0].end, ledger.rows[1].end) == (14, 4)


def test_a_new_source_topic_begins_anew_without_a_loss() -> None:
    ledger = OffsetLedger()
    ledger.follow(progress(read(0, 0, 100)), 1, live=True)
    ledger.follow(progress(read(0, 0, 5), topic="made anew"), 2, live=True)
    assert not ledger.losses
    assert ledger.rows[0].end == 5
    ledger.follow(progress(read(0, 8, 9), topic="made anew"), 3, live=True)
    assert [(loss.start, loss.end) for loss in ledger.losses] == [(5, 8)]


def test_nothing_is_expected_before_the_least_watermark_of_all_partitions() -> None:
    ledger = OffsetLedger()
    assert ledger.watermark_ms("m", 10) is None
    ledger.follow(progress(read(0, 0, 1, newest_ms={"m": 1000}), partitions=2), 1, live=True)
    assert ledger.watermark_ms("m", 10) is None, "partition 1 was not read yet"
    ledger.follow(progress(read(1, 0, 1, newest_ms={"other": 5000}), partitions=2), 2, live=True)
    assert ledger.watermark_ms("m", 10) is None, "partition 1 held nothing of the model"
    ledger.follow(progress(read(1, 1, 1, caught_up_at_ms=800), partitions=2), 3, live=True)
    assert ledger.watermark_ms("m", 10) == 790
    ledger.follow(progress(read(1, 1, 1, caught_up_at_ms=4000), partitions=2), 4, live=True)
    assert ledger.watermark_ms("m", 10) == 990


def test_a_watermark_never_goes_back() -> None:
    ledger = OffsetLedger()
    ledger.follow(progress(read(0, 0, 1, newest_ms={"m": 1000})), 1, live=True)
    ledger.follow(progress(read(0, 1, 2, newest_ms={"m": 400})), 2, live=True)
    assert ledger.watermark_ms("m", 0) == 1000


def test_a_partition_that_was_added_holds_everything_back() -> None:
    ledger = OffsetLedger()
    ledger.follow(progress(read(0, 0, 1, newest_ms={"m": 1000})), 1, live=True)
    assert ledger.watermark_ms("m", 0) == 1000
    ledger.follow(progress(read(0, 1, 2, newest_ms={"m": 2000}), partitions=2), 2, live=True)
    assert ledger.watermark_ms("m", 0) is None
    # A record that was written before somebody saw the new partition does not make it forgotten.
    ledger.follow(progress(read(0, 2, 3, newest_ms={"m": 3000}), partitions=1), 3, live=True)
    assert ledger.partitions == 2
    assert ledger.watermark_ms("m", 0) is None
    ledger.follow(progress(read(1, 0, 0, caught_up_at_ms=2500), partitions=2), 4, live=True)
    assert ledger.watermark_ms("m", 0) == 2500


def test_a_sketchers_clock_is_no_further_than_the_brokers() -> None:
    ledger = OffsetLedger()
    ahead = read(0, 0, 10, newest_ms={"m": 1000}, caught_up_at_ms=3_600_000)
    ledger.follow(progress(ahead), 1, live=True, received_ms=5000)
    assert ledger.watermark_ms("m", 0) == 5000
    # What is lost after it can be older than that clock said.
    ledger.follow(progress(read(0, 15, 20, oldest_ms=9000)), 2, live=True, received_ms=9500)
    assert [(loss.from_ms, loss.to_ms) for loss in ledger.losses] == [(5000, 9000)]
    ledger.follow(progress(read(0, 20, 20, caught_up_at_ms=9900)), 3, live=True, received_ms=10_000)
    assert ledger.watermark_ms("m", 0) == 9900


def test_on_the_replay_clock_idleness_moves_nothing_and_end_marks_everything() -> None:
    ledger = OffsetLedger()
    ledger.follow(progress(read(0, 0, 1, newest_ms={"m": 1000}, caught_up_at_ms=10**12)), 1, live=False)
    assert ledger.watermark_ms("m", 0) == 1000
    assert EVERY_MODEL not in ledger.rows[0].watermarks
    ledger.follow(progress(read(0, 1, 2, end_mark=True)), 2, live=False)
    assert ledger.watermark_ms("m", 600_000) == ENDED_MS
    assert ledger.watermark_ms("a model without events", 600_000) == ENDED_MS


def test_a_loss_counts_in_the_windows_it_may_have_had_events_of() -> None:
    loss = Loss(0, 10, 15, 10_000, 20_000, "gap", 1)
    assert not loss.overlaps(0, 9_000, 1_000)
    assert loss.overlaps(0, 9_001, 1_000)
    assert loss.overlaps(21_000, 30_000, 1_000)
    assert not loss.overlaps(21_001, 30_000, 1_000)
    ledger = OffsetLedger(losses=[loss, Loss(1, 0, 2, 0, ENDED_MS, "gap", 2)])
    assert ledger.lost_offsets(12_000, 13_000, 0) == 7
    assert ledger.lost_offsets(50_000, 60_000, 0) == 2


def test_a_late_event_after_a_gap_does_not_say_when_the_gap_ends() -> None:
    for newest, until in (({"m": 9000}, 9000), ({"m": 2900}, 30_000), ({}, 30_000)):
        ledger = OffsetLedger()
        ledger.follow(progress(read(0, 0, 10, newest_ms={"m": 3000})), 1, live=False)
        told = progress(read(0, 15, 20, newest_ms=newest, oldest_ms=500))
        ledger.follow(msgspec.structs.replace(told, counted_at_ms=30_000), 2, live=False)
        assert [(loss.from_ms, loss.to_ms) for loss in ledger.losses] == [(3000, until)]


def test_a_loss_that_is_found_again_counts_once() -> None:
    ledger = OffsetLedger(losses=[Loss(0, 10, 15, 1000, 5000, "gap", 2)])
    ledger.follow(progress(read(0, 0, 10, newest_ms={"m": 1000})), 1, live=True)
    ledger.follow(progress(read(0, 15, 20, oldest_ms=5000)), 2, live=True)
    assert ledger.lost_offsets(0, 10_000, 0) == 5
    assert len(ledger.new_losses) == 1, "it is written again: the row may not have been"
