from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, Window
from scipy.stats import ks_2samp

from barograph_server.sketches.baseline.baseline import Baseline, for_counting, for_judging
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.baseline.levels import InsufficientReason
from barograph_server.sketches.drift.distances import STEP_ERROR
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.monitor.state import offset_ledger
from barograph_server.streams.monitor.state.commit_rows import COLUMN_TABLES, Columns, CommitRows
from barograph_server.streams.monitor.state.merged_ranges import MergedRange, MergedRanges, enforce_budget
from barograph_server.streams.monitor.state.model import ModelState, RevisionQueue
from barograph_server.streams.monitor.state.pane import Pane, SliceSketch
from barograph_server.streams.monitor.state.pane_cache import PaneCache
from barograph_server.streams.monitor.state.series import CompiledBaseline, Series, training_references
from barograph_server.streams.monitor.state.store import SeriesPanes, WarehouseStore
from barograph_server.streams.monitor.verdicts.describe import describe
from barograph_server.streams.monitor.verdicts.sides import compared_ends
from barograph_server.streams.monitor.verdicts.window_counts import WindowSet
from barograph_server.streams.monitor.windows import described_every_s, merged_range_lengths, merged_range_s
from barograph_server.streams.records import OffsetRange, Partial, PartitionProgress, Progress
from barograph_server.streams.registry.registry import RegisteredBaseline, build_registry
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.support.memory_warehouse import MemoryWarehouse
from tests.support.messages import batch_of
from tests.support.monitor_harness import HOUR_S, MonitorHarness, event, make_partials, make_registry, merge
from tests.support.monitor_schedule import T0_S, baseline, contract
from tests.support.pipeline import simple_baseline, simple_contract
from tests.support.toy_events import messages, toy_events

MINUTES_10 = 600
PER_HOUR = HOUR_S // MINUTES_10


class RecordingStore(WarehouseStore):
    def __init__(self, warehouse: MemoryWarehouse) -> None:
        super().__init__(warehouse, 1)  # type: ignore[arg-type]
        self.loaded: list[set[int]] = []
        """The pane starts of each query."""

    def load_panes(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        panes = super().load_panes(model, start_s, end_s)
        self.loaded.append({at for entry in panes for at in entry.table.column("pane_start").to_pylist()})
        return panes


class EvictingHarness(MonitorHarness):
    reads: RecordingStore

    def __init__(self, budget_bytes: int) -> None:
        windows = (Window(2 * MINUTES_10, MINUTES_10), Window(HOUR_S, HOUR_S), Window(2 * HOUR_S, HOUR_S))
        registry = make_registry(pane_s=MINUTES_10, windows=windows)
        super().__init__(registry, live=True, budget_bytes=budget_bytes)

    def make_store(self) -> WarehouseStore:
        self.reads = RecordingStore(self.warehouse)
        return self.reads

    @property
    def series(self) -> Series:
        [series] = self.state.models["m"].series.values()
        return series

    def fill(self, hours: int) -> None:
        for i in range(hours * PER_HOUR):
            at_s = T0_S + i * MINUTES_10 + 7
            self.flush(at_s, caught_up_s=at_s)

    def seal(self, hours: int) -> None:
        self.flush(caught_up_s=T0_S + hours * HOUR_S + 1200)

    def of_hours(self) -> dict[int, int]:
        return self.rollups(HOUR_S, "x")


def test_hour_is_summed_and_merged_from_evicted_panes_that_late_events_change() -> None:
    monitor = EvictingHarness(0)
    monitor.fill(2)
    assert monitor.series.panes == {}, "all are evicted"
    monitor.reads.loaded.clear()
    monitor.seal(2)
    assert monitor.of_hours() == {0: PER_HOUR, 1: PER_HOUR}
    assert monitor.verdicts("1h") == {1: PER_HOUR, 2: PER_HOUR}
    assert monitor.verdicts("2h") == {1: PER_HOUR, 2: 2 * PER_HOUR}
    assert monitor.verdicts("20m")[2] == 2
    assert {len(starts) for starts in monitor.reads.loaded} == {1}, "one pane per query"
    assert monitor.series.panes == {}
    # Late events change an evicted pane.
    monitor.flush(T0_S + 11, T0_S + 12, caught_up_s=T0_S + 2 * HOUR_S)
    assert monitor.of_hours() == {0: PER_HOUR + 2, 1: PER_HOUR}
    assert monitor.verdicts("1h") == {1: PER_HOUR + 2, 2: PER_HOUR}
    assert monitor.verdicts("2h") == {1: PER_HOUR + 2, 2: 2 * PER_HOUR + 2}
    assert monitor.series.panes == {}


def test_loading_stays_within_the_budget_and_keeps_the_nearest_panes() -> None:
    monitor = EvictingHarness(1 << 30)
    monitor.fill(2)
    size = max(pane.n_bytes for pane in monitor.series.panes.values())
    all_starts = set(monitor.series.panes)
    monitor.options["budget_bytes"] = 3 * size
    monitor.restart()
    monitor.seal(2)
    # Panes before the sealed time are only read by windows; those after it may change.
    assert monitor.state.models["m"].sealed_until_s == T0_S + 2 * HOUR_S
    cached = set(monitor.series.panes)
    assert 3 <= len(cached) < PER_HOUR
    assert min(cached) > max(all_starts - cached)
    assert monitor.of_hours() == {0: PER_HOUR, 1: PER_HOUR}


BASELINE = simple_baseline()


def make_series() -> Series:
    return Series("1", BASELINE.id, CompiledBaseline.of(Layout(BASELINE)), simple_contract())


def test_counts_beyond_32_bits_stay_exact_and_are_narrowed_once_written() -> None:
    series = make_series()
    pane = series.panes[0] = series.empty_pane(0)
    pane.narrow_counts()
    slices, columns = slice(0, series.layout.n_slices), slice(0, series.layout.width)
    added = np.full(pane.counts.shape, 2**30, dtype=np.int64)
    for i in range(1, 5):
        series.add_counts(pane, slices, columns, added)
        assert (pane.counts == i * 2**30).all()
    series.mark_written()
    assert pane.counts.dtype == np.int64, "no narrower type holds 2 to the 32nd"
    assert (pane.counts == 2**32).all()
    # Widened counts are narrowed once written.
    series = make_series()
    pane = series.panes[0] = series.empty_pane(0)
    series.add_counts(pane, slice(0, 1), slice(0, 1), np.array([[300]]))
    assert pane.counts.dtype in (np.int32, np.int64), "it may still change"
    series.mark_written()
    assert not pane.dirty
    assert pane.counts.dtype == np.uint16
    assert pane.n_events == 300


def test_a_changed_type_of_sketches_drops_merged_ranges_and_other_changes_do_not() -> None:
    registry = make_registry(pane_s=MINUTES_10, windows=(Window(HOUR_S, HOUR_S),))
    cache = PaneCache(WarehouseStore(MemoryWarehouse()), lambda: registry, 1 << 30)  # type: ignore[arg-type]
    state = ModelState(registry.contracts["m"])
    cache.load(state)
    [baseline_id] = registry.layouts
    series: Any = cache.get_series(state, "1", baseline_id)
    for i, partial in enumerate(make_partials(registry, [event(T0_S)], OffsetRange(0, 0, 1))):
        cache.merge(state, series, partial, i, late=False)
    [window] = state.contract.windows

    def merged_events() -> int:
        return int(cache.merge_range(state, series, window, T0_S, T0_S + HOUR_S).counts[0])

    assert merged_events() == 1
    series.panes.clear()
    cache.update_contract(state, msgspec.structs.replace(state.contract, description="otherwise the same"))
    assert merged_events() == 1, "the stored range is reused"
    fields = tuple(msgspec.structs.replace(field, sketch="req") for field in state.contract.fields)
    cache.update_contract(state, msgspec.structs.replace(state.contract, fields=fields))
    assert merged_events() == 0
    assert series.contract is state.contract


def covered(partition: int, start: int, end: int, **values: Any) -> PartitionProgress:
    return PartitionProgress(partition=partition, start=start, end=end, newest_ms=values.pop("newest_ms", {}), **values)


def progress(*ranges: PartitionProgress, partitions: int = 1, topic: str = "t") -> Progress:
    return Progress(source_topic_id=topic, source_partitions=partitions, counted_at_ms=1, ranges=list(ranges))


def ledger_of(*records: Progress, live: bool = True) -> offset_ledger.OffsetLedger:
    ledger = offset_ledger.OffsetLedger()
    for record_seq, record in enumerate(records, 1):
        ledger.advance(record, record_seq, live=live)
    return ledger


def test_record_seq_orders_records_across_incarnations() -> None:
    assert offset_ledger.make_record_seq(0, 5) == 5
    ascending = [offset_ledger.make_record_seq(*each) for each in ((0, 2**48 - 1), (1, 0), (1, 1), (2**15 - 1, 0))]
    assert ascending == sorted(set(ascending))
    assert ascending[-1] < 2**63


def test_gap_is_a_loss_with_the_times_around_it() -> None:
    ledger = ledger_of(
        progress(covered(0, 500, 510, newest_ms={"m": 1000})),
        progress(covered(0, 515, 520, newest_ms={"m": 9000}, oldest_ms=5000)),
    )
    # The ledger starts where the log starts.
    assert ledger.losses == ledger.new_losses == [offset_ledger.Loss(0, 510, 515, 1000, 5000, "gap", 2)]
    assert (ledger.losses[0].offsets, ledger.rows[0].end) == (5, 520)
    # A gap before silence extends to the time of catching up.
    ledger = ledger_of(
        progress(covered(0, 0, 10, newest_ms={"m": 1000})),
        progress(covered(0, 15, 15, caught_up_at_ms=7000)),
        progress(covered(0, 20, 20)),
    )
    assert [(loss.from_ms, loss.to_ms) for loss in ledger.losses] == [(1000, 7000), (7000, offset_ledger.ENDED_MS)]


def test_redelivered_record_changes_nothing() -> None:
    ranges = [(0, 10), (15, 20), (20, 30)]
    ledger = ledger_of(*(progress(covered(0, start, end, newest_ms={"m": end})) for start, end in ranges))
    before = ledger.rows[0].end, dict(ledger.rows[0].watermarks), list(ledger.losses)
    assert not ledger.is_resketched(0, 15, "t", 2)
    ledger.advance(progress(covered(0, 15, 20, newest_ms={"m": 99_999})), 2, live=True)
    assert (ledger.rows[0].end, ledger.rows[0].watermarks, ledger.losses) == before


def test_reset_offsets_are_a_resketch_and_only_new_ones_are_lost() -> None:
    ledger = ledger_of(progress(covered(0, 0, 10, newest_ms={"m": 1000}), covered(1, 0, 4), partitions=2))
    assert ledger.is_resketched(0, 3, "t", 2)
    assert not ledger.is_resketched(0, 10, "t", 2)
    assert not ledger.is_resketched(0, 3, "another topic", 2)
    assert not ledger.is_resketched(7, 0, "t", 2)
    ledger.record_resketch(progress(covered(0, 3, 14, oldest_ms=500), covered(1, 2, 4)), 2)
    [loss] = ledger.losses
    assert (loss.source_partition, loss.start, loss.end, loss.reason) == (0, 10, 14, "re-sketch")
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
    ledger = offset_ledger.OffsetLedger()
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
    ledger = ledger_of(progress(covered(0, 0, 1, newest_ms={"m": 1000})))
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
    ledger = offset_ledger.OffsetLedger()
    ahead = covered(0, 0, 10, newest_ms={"m": 1000}, caught_up_at_ms=3_600_000)
    ledger.advance(progress(ahead), 1, live=True, received_ms=5000)
    assert ledger.watermark_ms("m", 0) == 5000
    # A later loss may be older than that clock.
    ledger.advance(progress(covered(0, 15, 20, oldest_ms=9000)), 2, live=True, received_ms=9500)
    assert [(loss.from_ms, loss.to_ms) for loss in ledger.losses] == [(5000, 9000)]
    ledger.advance(progress(covered(0, 20, 20, caught_up_at_ms=9900)), 3, live=True, received_ms=10_000)
    assert ledger.watermark_ms("m", 0) == 9900


def test_in_a_replay_idleness_advances_no_watermark_and_end_markers_advance_all() -> None:
    ledger = ledger_of(progress(covered(0, 0, 1, newest_ms={"m": 1000}, caught_up_at_ms=10**12)), live=False)
    assert ledger.watermark_ms("m", 0) == 1000
    assert offset_ledger.EVERY_MODEL not in ledger.rows[0].watermarks
    ledger.advance(progress(covered(0, 1, 2, end_mark=True)), 2, live=False)
    for model in ("m", "a model without events"):
        assert ledger.watermark_ms(model, 600_000) == offset_ledger.ENDED_MS


def test_loss_counts_once_in_every_window_that_may_contain_its_events() -> None:
    loss = offset_ledger.Loss(0, 10, 15, 10_000, 20_000, "gap", 1)
    windows = (0, 9_000), (0, 9_001), (21_000, 30_000), (21_001, 30_000)
    assert [loss.overlaps(start_ms, end_ms, 1_000) for start_ms, end_ms in windows] == [False, True, True, False]
    ledger = offset_ledger.OffsetLedger(losses=[loss, offset_ledger.Loss(1, 0, 2, 0, offset_ledger.ENDED_MS, "gap", 2)])
    assert ledger.lost_offsets(12_000, 13_000, 0) == 7
    assert ledger.lost_offsets(50_000, 60_000, 0) == 2
    ledger = offset_ledger.OffsetLedger(losses=[offset_ledger.Loss(0, 10, 15, 1000, 5000, "gap", 2)])
    ledger.advance(progress(covered(0, 0, 10, newest_ms={"m": 1000})), 1, live=True)
    ledger.advance(progress(covered(0, 15, 20, oldest_ms=5000)), 2, live=True)
    assert ledger.lost_offsets(0, 10_000, 0) == 5
    assert len(ledger.new_losses) == 1, "it is written again: the row may not have been"


def test_late_event_after_a_gap_does_not_define_its_end() -> None:
    for newest, until in (({"m": 9000}, 9000), ({"m": 2900}, 30_000), ({}, 30_000)):
        after = progress(covered(0, 15, 20, newest_ms=newest, oldest_ms=500))
        after = msgspec.structs.replace(after, counted_at_ms=30_000)
        ledger = ledger_of(progress(covered(0, 0, 10, newest_ms={"m": 3000})), after, live=False)
        assert [(loss.from_ms, loss.to_ms) for loss in ledger.losses] == [(3000, until)]


DAY_S = 86_400


def test_windows_are_described_every_quarter_length_in_whole_hops_and_ranges_stored_as_long_as_needed() -> None:
    for window, every_s, range_s in (
        (Window(900, 60), 240, 60),
        (Window(HOUR_S, 300), 900, 900),
        (Window(DAY_S, HOUR_S), 6 * HOUR_S, 6 * HOUR_S),
        (Window(7 * DAY_S, DAY_S), 2 * DAY_S, DAY_S),
        (Window(3 * HOUR_S, HOUR_S), HOUR_S, HOUR_S),
        (Window(HOUR_S, HOUR_S), HOUR_S, HOUR_S),
    ):
        assert (described_every_s(window), merged_range_s(window)) == (every_s, range_s)
    assert merged_range_lengths(Contract(model="m")) == {900: HOUR_S, HOUR_S: DAY_S, 6 * HOUR_S: DAY_S}
    hourly = Contract(model="m", pane_s=HOUR_S, windows=(Window(DAY_S, HOUR_S), Window(7 * DAY_S, DAY_S)))
    assert merged_range_lengths(hourly) == {6 * HOUR_S: DAY_S, DAY_S: 7 * DAY_S}


class RangeHarness:
    """A series with twenty-minute panes of one number a minute, from T0 on, and its merged ranges."""

    def __init__(self, hours: int, trained: Baseline | None = None, **changes: Any) -> None:
        windows = (Window(8 * HOUR_S, HOUR_S),)
        self.contract = msgspec.structs.replace(contract("m", 1200), windows=windows, **changes)
        self.baseline = trained or baseline("m", "1")
        self.registry = build_registry(
            [(self.contract, 0)], [RegisteredBaseline(self.baseline, self.baseline.id, 0, 1)]
        )
        compiled = CompiledBaseline.of(self.registry.layouts[self.baseline.id])
        self.series = Series("1", self.baseline.id, compiled, self.contract)
        self.ranges = MergedRanges(self.series)
        self.x = np.random.default_rng(3).normal(0.5, 1.0, hours * 60).astype(np.float32).astype(float)
        self.at_s = T0_S + 60 * np.arange(len(self.x))
        self.loads: list[tuple[int, int]] = []
        """The ranges of panes that were requested."""
        events = [event(int(at_s), x=float(x)) for at_s, x in zip(self.at_s, self.x, strict=True)]
        for offset, partial in enumerate(make_partials(self.registry, events, OffsetRange(0, 0, len(events)))):
            self.series.merge(self.pane(partial.pane_start_s), partial, offset, late=False)

    def pane(self, start_s: int) -> Pane:
        return self.series.panes.setdefault(start_s, self.series.empty_pane(start_s))

    def late_partial(self, at_s: int) -> Partial:
        [partial] = make_partials(self.registry, [event(at_s, x=9.0)], OffsetRange(0, 0, 1))
        return partial

    def merge_window(self, end_s: int) -> MergedRange:
        [window] = self.contract.windows
        return self.ranges.merge(end_s - window.length_s, end_s, merged_range_s(window), self.load)

    def load(self, start_s: int, end_s: int) -> None:
        self.loads.append((start_s, end_s))

    def describe(self, *ends_h: int, whole: bool = True) -> list[dict[str, Any]]:
        [window] = self.contract.windows
        ends_s = compared_ends(window, [T0_S + end * HOUR_S for end in ends_h])
        until_s, lost = np.array(ends_s), np.zeros(len(ends_s))
        gaps = np.full(len(ends_s), 0 if whole else InsufficientReason.partly_recorded, np.int8)
        windows = WindowSet(self.contract, window, until_s - window.length_s, until_s, lost, gaps, 7, 8)
        columns = describe(self.series, windows, self.merge_window)
        if columns is None:
            return []
        rows = {name: column.tolist() for name, column in columns.items()}
        return [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]


def test_descriptions_match_the_raw_values() -> None:
    harness = RangeHarness(hours=20)
    rows = harness.describe(*range(8, 21))
    assert [(row["window_end"] - T0_S) // HOUR_S for row in rows] == [8, 10, 12, 14, 16, 18, 20]
    quantiles = np.array(harness.baseline.fields[0].quantiles)
    base = np.quantile(quantiles, np.linspace(0, 1, 4000), method="inverted_cdf")
    for row in rows:
        inside = (harness.at_s >= row["window_start"]) & (harness.at_s < row["window_end"])
        assert (row["field"], row["slice"], row["n"]) == ("x", "all", 480)
        assert row["mean"] == pytest.approx(harness.x[inside].mean(), rel=1e-9)
        statistic = ks_2samp(harness.x[inside], base, method="asymp").statistic
        assert row["ks"] == pytest.approx(statistic, abs=row["ks_error"] + 1e-3)
        assert row["ks_rejects"]
        assert row["completeness"] == 1.0
    # A range is two hours of panes, a window four ranges: the panes of each hour are loaded once.
    assert sorted(harness.loads) == [(T0_S + h * HOUR_S, T0_S + (h + 1) * HOUR_S) for h in range(20)]
    assert not harness.describe(9), "not every hop is described"
    assert [row["ks_rejects"] for row in harness.describe(8, whole=False)] == [False]


def test_stored_ranges_equal_rebuilt_ones() -> None:
    harness, rebuilding = RangeHarness(hours=20), RangeHarness(hours=20)
    harness.describe(*range(8, 21))
    for end in (8, 14, 20):
        [stored], [rebuilt] = harness.describe(end), rebuilding.describe(end)
        rebuilding.ranges.clear()
        # Sketches are randomized: figures read from them agree within their error.
        estimated = ("ks", "w1", "std_ratio_low", "std_ratio_high", "p05", "p25", "p50", "p75", "p95", "p99")
        assert stored["ks"] == pytest.approx(rebuilt["ks"], abs=2 * rebuilt["ks_error"])
        exact = [name for name in stored if name not in estimated]
        assert {name: stored[name] for name in exact} == {name: rebuilt[name] for name in exact}


def test_changed_pane_changes_every_window_that_contains_it() -> None:
    harness = RangeHarness(hours=20)
    before = harness.describe(12, 14, 20)
    changed = harness.series.panes[T0_S + 5 * HOUR_S]
    n_loads = len(harness.loads)
    harness.series.merge(changed, harness.late_partial(changed.start_s), 10**6, late=True)
    harness.ranges.invalidate(changed.start_s)
    after = harness.describe(12, 14, 20)
    assert [row["n"] for row in before] == [480, 480, 480]
    assert [row["n"] for row in after] == [481, 480, 480]
    assert harness.loads[n_loads:] == [(T0_S + 5 * HOUR_S, T0_S + 6 * HOUR_S)], "only that hour is merged again"


@pytest.mark.parametrize("damaged", [b"no sketch at all", b"", "another type"])
def test_unreadable_sketch_leaves_moments(damaged: bytes | str) -> None:
    harness = RangeHarness(hours=20)
    pane = harness.series.panes[T0_S + 3 * HOUR_S]
    if isinstance(damaged, str):
        fields = tuple(msgspec.structs.replace(field, sketch="req") for field in harness.contract.fields)
        pane.sketches[0] = RangeHarness(hours=4, fields=fields).series.panes[pane.start_s].sketches[0]
    else:
        pane.sketches[0] = damaged
    first, last = harness.describe(8, 20)
    assert first["n"] == 480
    assert first["mean"] == pytest.approx(harness.x[:480].mean(), rel=1e-9)
    assert np.isnan([first["ks"], first["w1"], first["p50"], first["ks_threshold"]]).all()
    assert not np.isnan([first["mean_shift_low"], first["std_ratio"], first["std_ratio_low"]]).any()
    assert not first["ks_rejects"]
    assert last["ks_rejects"]


@pytest.mark.parametrize("damaged", [b"no sketch at all", b""])
def test_hour_with_a_damaged_sketch_has_none(damaged: bytes) -> None:
    harness = RangeHarness(hours=2)
    panes = [harness.series.panes[T0_S + m * 1200] for m in range(6)]
    panes[1].sketches[0] = damaged
    panes[2].slice_sketches.clear()
    first, second = (merge(harness.series, panes[i].start_s, panes[i : i + 3]) for i in (0, 3))
    day = merge(harness.series, T0_S, [first, second])
    assert [len(pane.sketches[0]) > 0 for pane in (first, second, day)] == [False, True, False]
    assert day.n_events == 120
    assert [key for key in second.slice_sketches if key[1] == 0]
    panes[4].slice_sketches.update(
        {key: SliceSketch(sketch.moments, b"no sketch") for key, sketch in panes[4].slice_sketches.items()}
    )
    assert not merge(harness.series, panes[3].start_s, panes[3:]).slice_sketches


def test_hour_merged_for_its_rollup_is_not_merged_again() -> None:
    harness = RangeHarness(hours=8)
    hours = [T0_S + h * HOUR_S for h in range(8)]
    for start_s in hours[:-1]:
        panes = [harness.series.panes[start_s + m * 1200] for m in range(3)]
        harness.ranges.store_rollup(HOUR_S, merge(harness.series, start_s, panes))
    [row] = harness.describe(8)
    assert row["n"] == 480
    assert row["mean"] == pytest.approx(harness.x.mean(), rel=1e-9)
    assert harness.loads == [(hours[-1], hours[-1] + HOUR_S)]
    harness.ranges.store_rollup(1200, harness.series.panes[T0_S])
    assert {length for (length, _), _ in harness.ranges.sizes()} == {HOUR_S, 2 * HOUR_S}


def test_error_is_that_of_sketch_steps_and_baseline_and_without_quantiles_moments_stay() -> None:
    first = baseline("m", "1")
    bare = msgspec.structs.replace(first, fields=tuple(msgspec.structs.replace(f, quantiles=()) for f in first.fields))
    [row] = RangeHarness(hours=8, trained=bare).describe(8)
    assert np.isnan([row["ks"], row["ks_error"], row["w1"]]).all()
    assert not row["ks_rejects"]
    assert row["mean_shift"] == pytest.approx(row["mean"] - 0.25)
    assert row["p05"] < row["p50"] < row["p99"]
    [row] = RangeHarness(hours=8).describe(8)
    # A sketch does not keep all of 480 numbers.
    assert row["ks_error"] == pytest.approx(0.0133 + STEP_ERROR + 0.0005 + 1 / 900, abs=1e-4)


def test_ranges_stay_within_their_budget() -> None:
    harness = RangeHarness(hours=20)
    harness.describe(*range(8, 21))
    ranges = harness.ranges
    assert {key for key, _ in ranges.sizes()} == {
        *((HOUR_S, T0_S + h * HOUR_S) for h in range(20)),
        *((2 * HOUR_S, T0_S + h * HOUR_S) for h in range(0, 20, 2)),
    }
    ranges.drop_expired(T0_S + 20 * HOUR_S)
    assert min(start + length for (length, start), _ in ranges.sizes()) > T0_S + 12 * HOUR_S
    total = sum(size for _, size in ranges.sizes())
    assert total > 12 * 1000
    enforce_budget([ranges], total)
    assert sum(size for _, size in ranges.sizes()) == total
    enforce_budget([ranges, MergedRanges(harness.series)], total // 2)
    lengths = [length for (length, _), _ in ranges.sizes()]
    assert sum(size for _, size in ranges.sizes()) <= total // 2
    assert lengths.count(2 * HOUR_S) == 4, "short ranges, which the long ones were merged from, are dropped first"
    enforce_budget([ranges], 0)
    assert not len(ranges)
    assert harness.describe(20)[0]["n"] == 480


SERIES = ("1", "baseline")
WINDOW = Window(3600, 300)


def test_windows_are_due_once_per_interval() -> None:
    queue = RevisionQueue()
    queue.mark((SERIES, WINDOW, 600), 7)
    queue.mark((SERIES, WINDOW, 300), 8)
    assert queue.pop_due(0.0, 60.0) == {(SERIES, WINDOW): [300, 600]}
    assert queue.first_offset() is None
    queue.mark((SERIES, WINDOW, 300), 9)
    queue.mark((SERIES, WINDOW, 900), 10)
    assert queue.pop_due(59.0, 60.0) == {(SERIES, WINDOW): [900]}
    assert queue.pop_due(60.0, 60.0) == {(SERIES, WINDOW): [300]}


def test_first_offset_is_that_of_the_earliest_late_record_or_of_a_window_beyond_the_ledger() -> None:
    queue = RevisionQueue()
    for offset in (5, 9):
        queue.mark((SERIES, WINDOW, 300), offset)
    queue.mark((SERIES, WINDOW, 600), 7)
    assert queue.first_offset() == 5
    # A window beyond the ledger stays queued.
    queue = RevisionQueue()
    for end_s in (3600, 7200):
        queue.mark((SERIES, WINDOW, end_s), 5)
    assert queue.pop_due(0.0, 60.0, 3600) == {(SERIES, WINDOW): [3600]}
    assert queue.first_offset() == 5
    assert queue.pop_due(0.0, 60.0, 7200) == {(SERIES, WINDOW): [7200]}


def rows(*record_seq: int) -> Columns:
    return {"record_seq": list(record_seq)}


def test_lazy_columns_are_made_when_they_are_read_and_tables_have_their_order() -> None:
    commit = CommitRows()
    calls: list[int] = []

    def make() -> Columns:
        calls.append(1)
        return rows(1)

    commit.add_columns([("panes", make), ("volume", rows(2))])
    assert not calls
    assert list(commit.columns("panes")) == [rows(1)]
    assert calls == [1]
    assert COLUMN_TABLES[:4] == ("drift", "rates", "distances", "comparisons")
    assert COLUMN_TABLES.index("volume") < COLUMN_TABLES.index("violations") < COLUMN_TABLES.index("panes")
    commit.add_rows("progress", [{"record_seq": 1}])
    assert commit.rows("progress") == [{"record_seq": 1}]
    assert commit.rows("losses") == []


def test_judging_baseline_has_the_same_quantiles() -> None:
    packed = for_judging(BASELINE)
    assert [tuple(field.quantiles) for field in packed.fields] == [field.quantiles for field in BASELINE.fields]
    original, restored = (training_references(simple_contract(), each.fields) for each in (BASELINE, packed))
    assert any(reference.table is not None for reference in original)
    for one, other in zip(original, restored, strict=True):
        assert (one.field_index, one.m, one.mean, one.std) == (other.field_index, other.m, other.mean, other.std)
        assert (one.table is None) == (other.table is None)
        if one.table is not None and other.table is not None:
            assert (one.table.steps == other.table.steps).all()


def test_counting_baseline_has_less_and_gives_the_same_layout_and_counts() -> None:
    counting = for_counting(BASELINE)
    for field in counting.fields:
        assert (field.quantiles, field.hours_of_week, field.slices) == ((), {}, {}), "nothing that only judging reads"
    whole, less = Layout(BASELINE), Layout(counting)
    assert (less.slices, less.n_fields, less.width) == (whole.slices, whole.n_fields, whole.width)
    for name in ("starts", "n_cells"):
        assert (getattr(less, name) == getattr(whole, name)).all()
    events = [value for _, value, _ in messages(toy_events(500, hours=1))]
    results = []
    for each in (BASELINE, counting):
        registry = build_registry([(simple_contract(), 0)], [RegisteredBaseline(each, BASELINE.id, 0, 0)])
        summaries = FlushSummaries(registry)
        for columns in JsonDecoder(registry).decode(batch_of(*events)).events:
            summaries.add(columns)
        [pane] = summaries.panes.values()
        results.append(pane)
    original, stripped = results
    assert (original.counts == stripped.counts).all()
    assert (original.moments == stripped.moments).all()
