"""Windows are described from ranges that are merged once, stay within their budget, and survive damaged sketches."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import Window
from scipy.stats import ks_2samp

from sketches.baseline.baseline import Baseline
from sketches.drift.distances import STEP_ERROR
from streams.monitor.state.compiled_baseline import CompiledBaseline
from streams.monitor.state.merged_ranges import MergedRange, MergedRanges, enforce_budget
from streams.monitor.state.pane import Pane
from streams.monitor.state.series import Series
from streams.monitor.verdicts.describe import describe
from streams.monitor.windows import described_every_s, merged_range_s
from streams.records import OffsetRange
from streams.registry.registry import RegisteredBaseline, build_registry
from tests.support.monitor_harness import event, make_partials
from tests.support.monitor_schedule import T0_S, baseline, contract

HOUR_S, DAY_S = 3600, 86_400
NO_LOSS = np.zeros(100)


@pytest.mark.parametrize(
    ("window", "every_s", "range_s"),
    [
        (Window(900, 60), 240, 60),
        (Window(DAY_S, HOUR_S), 6 * HOUR_S, 6 * HOUR_S),
        (Window(7 * DAY_S, DAY_S), 2 * DAY_S, DAY_S),
        (Window(HOUR_S, HOUR_S), HOUR_S, HOUR_S),
    ],
)
def test_windows_are_described_every_quarter_of_their_length_in_whole_hops(
    window: Window, every_s: int, range_s: int
) -> None:
    assert described_every_s(window) == every_s
    assert merged_range_s(window) == range_s


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
