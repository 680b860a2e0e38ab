"""Windows are described from ranges that are merged once, stay within their budget, and survive damaged sketches."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, Window
from scipy.stats import ks_2samp

from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.sketches.drift.distances import STEP_ERROR
from barograph_server.streams.monitor.state.compiled_baseline import CompiledBaseline
from barograph_server.streams.monitor.state.merged_ranges import MergedRange, MergedRanges, enforce_budget
from barograph_server.streams.monitor.state.pane import Pane, SliceSketch
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.verdicts.describe import describe
from barograph_server.streams.monitor.windows import described_every_s, merged_range_lengths, merged_range_s
from barograph_server.streams.records import OffsetRange, Partial
from barograph_server.streams.registry.registry import RegisteredBaseline, build_registry
from tests.support.merged_panes import merge
from tests.support.monitor_harness import event, make_partials
from tests.support.monitor_schedule import T0_S, baseline, contract

HOUR_S, DAY_S = 3600, 86_400
NO_LOSS = np.zeros(100)


@pytest.mark.parametrize(
    ("window", "every_s", "range_s"),
    [
        (Window(900, 60), 240, 60),
        (Window(HOUR_S, 300), 900, 900),
        (Window(DAY_S, HOUR_S), 6 * HOUR_S, 6 * HOUR_S),
        (Window(7 * DAY_S, DAY_S), 2 * DAY_S, DAY_S),
        (Window(3 * HOUR_S, HOUR_S), HOUR_S, HOUR_S),
        (Window(HOUR_S, HOUR_S), HOUR_S, HOUR_S),
    ],
)
def test_windows_are_described_every_quarter_length_in_whole_hops(window: Window, every_s: int, range_s: int) -> None:
    assert described_every_s(window) == every_s
    assert merged_range_s(window) == range_s


def test_ranges_are_stored_as_long_as_a_window_contains_them() -> None:
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
        ends_s = [T0_S + end * HOUR_S for end in ends_h]
        [window] = self.contract.windows
        are_whole = np.full(len(ends_s), whole)
        columns = describe(self.series, window, ends_s, NO_LOSS[: len(ends_s)], are_whole, 7, 8, self.merge_window)
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
