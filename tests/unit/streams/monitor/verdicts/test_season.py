from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from barograph.contract import Contract, Field, Slice, Window

from barograph_server.profiling.distribution.compute import DistributionQuery, compute_distribution
from barograph_server.profiling.distribution.read import FieldPanes, PaneSelection
from barograph_server.sketches.baseline.baseline import (
    ALL,
    HOUR_NAMES,
    Baseline,
    FieldBaseline,
    Phi,
    SliceCounts,
    SliceValues,
)
from barograph_server.sketches.baseline.layout import EVENTS, Layout
from barograph_server.sketches.drift.psi import psi_verdicts
from barograph_server.sketches.drift.season import Season
from barograph_server.streams.hour_of_week import compute_hours_of_week
from barograph_server.streams.monitor.rows.pane_rows import pane_columns
from barograph_server.streams.monitor.state.series import CompiledBaseline, Series
from barograph_server.streams.monitor.verdicts.judge import judge
from barograph_server.streams.monitor.verdicts.window_counts import WindowSet
from barograph_server.streams.monitor.windows import fixed_starts
from barograph_server.warehouse.tables import table_of

ZONE = "Europe/Berlin"
HOUR_S, DAY_S = 3_600, 86_400
FROM_S = int(datetime(2026, 10, 24, tzinfo=ZoneInfo(ZONE)).timestamp())
HOURS = 80


def shares() -> np.ndarray:
    """Per slot: two bins that change with the hour, and nulls."""
    high = 0.1 + 0.75 * (np.arange(168) % 24 >= 12) + 0.05 * (np.arange(168) >= 120)
    return np.stack([0.98 - high, high, np.full(168, 0.02)], axis=1)


def make_baseline() -> Baseline:
    rng = np.random.default_rng(1)
    x = rng.multinomial(900 + 50 * (np.arange(168) % 7), shares())
    y = rng.multinomial(x.sum(axis=1), [0.5, 0.45, 0.05]).sum(axis=0)
    whole, rows = x.sum(axis=0), int(x.sum())
    north = int((whole // 2).sum())

    def field(name: str, of_all: np.ndarray, of_north: np.ndarray, **hours: Any) -> FieldBaseline:
        counts = {ALL: of_all, "region=north": of_north, "region=other": of_all - of_north}
        slices = {name_: SliceCounts(cells=tuple(cells.tolist())) for name_, cells in counts.items()}
        return FieldBaseline(name=name, kind="numeric", edges=(0.0,), slices=slices, **hours)

    hours = {HOUR_NAMES[s]: tuple(row) for s, row in enumerate(x.tolist())}
    return Baseline(
        model="m",
        version="1",
        rows=rows,
        slice_rows={ALL: rows, "region=north": north, "region=other": rows - north},
        dimensions=(SliceValues(name="region", source="context.region", values=("north",), trained=True),),
        timezone=ZONE,
        fields=(
            field("x", whole, whole // 2, hours_of_week=hours),
            field("y", y, np.array([north // 2, north - north // 2, 0])),
        ),
    )


def make_series(pane_s: int, windows: tuple[Window, ...], baseline: Baseline, **changes: Any) -> Series:
    contract = Contract(
        model="m",
        timezone=ZONE,
        pane_s=pane_s,
        windows=windows,
        season="hour_of_week",
        slice_min_n=1,
        fields=(Field(name="x", type="float", source="features.x"), Field(name="y", type="float", source="features.y")),
        slices=(Slice(name="region", source="context.region"),),
    )
    contract = msgspec.structs.replace(contract, **changes)
    series = Series("1", baseline.id, CompiledBaseline.of(Layout(baseline)), contract, first_s=0)
    rng = np.random.default_rng(2)
    for start_s in range(FROM_S, FROM_S + HOURS * HOUR_S, pane_s):
        pane = series.panes[start_s] = series.empty_pane(start_s)
        hour_of_week = int(compute_hours_of_week(np.array([start_s]), HOUR_S, ZONE)[0])
        events = int(rng.integers(1, 1_500) * pane_s / HOUR_S)
        for f, p in ((0, shares()[hour_of_week]), (1, [0.5, 0.45, 0.05])):
            at = int(series.layout.starts[f])
            counts = rng.multinomial(events, p)
            pane.counts[0, at : at + 3] = counts
            pane.counts[1, at : at + 3] = counts // 3
            pane.counts[2, at : at + 3] = counts - counts // 3
        pane.counts[:, EVENTS] = events, events // 3, events - events // 3
    for hour_s in range(FROM_S, FROM_S + HOURS * HOUR_S, HOUR_S):
        series.hours[hour_s] = sum(
            (series.panes[at].counts for at in range(hour_s, hour_s + HOUR_S, pane_s)),
            start=series.layout.empty_counts(),
        )
    return series


def rows(series: Series, window: Window, ends_s: list[int]) -> dict[tuple[str, str, int], dict[str, Any]]:
    starts_s, lost, gaps = fixed_starts(window, ends_s), np.zeros(len(ends_s)), np.zeros(len(ends_s), np.int8)
    windows = WindowSet(series.contract, window, starts_s, np.array(ends_s), lost, gaps, 1, 1)
    ((drift, _),) = judge(series, windows, always=np.ones(len(ends_s), dtype=bool))
    assert drift is not None
    return {(row["field"], row["slice"], int(row["window_end"])): row for row in pa.table(dict(drift)).to_pylist()}


CASES = [(600, Window(HOUR_S, 600)), (600, Window(DAY_S, HOUR_S)), (HOUR_S, Window(DAY_S, HOUR_S))]


@pytest.mark.parametrize(("pane_s", "window"), CASES)
def test_windows_are_compared_with_the_mix_of_their_hours(pane_s: int, window: Window) -> None:
    """Recounts the panes hour by hour, across the end of daylight saving time."""
    baseline = make_baseline()
    series = make_series(pane_s, (window,), baseline)
    bins, season = series.compiled.bins, Season(series.compiled.bins)
    ends = list(range(FROM_S + DAY_S, FROM_S + HOURS * HOUR_S + 1, window.hop_s))
    judged = rows(series, window, ends)
    x = int(series.layout.starts[0])
    for end in ends[:: max(1, len(ends) // 20)]:
        by_slot = np.zeros((168, 3), dtype=np.int64)
        for start, pane in series.panes.items():
            if end - window.length_s <= start < end:
                by_slot[compute_hours_of_week(np.array([start]), HOUR_S, ZONE)[0]] += pane.counts[0, x : x + 3]
        counted = np.zeros((1, bins.n_bins), dtype=np.int64)
        group = bins.groups_in(0)[0]
        counted[0, bins.starts[group] : bins.starts[group] + 3] = by_slot.sum(axis=0)
        expected = season.expectation(list(range(168)), by_slot.sum(axis=1)[None, :, None])
        verdicts = psi_verdicts(bins.base_bins, counted, bins.starts, expected=expected)
        row = judged["x", ALL, end]
        top = int(bins.starts[group]) + row["top_bin_index"]
        own = verdicts.psi[0, group], verdicts.high[0, group], verdicts.p_value[0, group], expected.share[0, top]
        assert (row["psi"], row["psi_high"], row["p_value"], row["expected_share"]) == own


@pytest.mark.parametrize(("season", "hours_of_week"), [("none", True), ("hour_of_week", False)])
def test_without_request_or_hours_the_whole_week_judges(season: str, hours_of_week: bool) -> None:
    baseline, window = make_baseline(), Window(HOUR_S, 600)
    seasonal = make_series(600, (window,), baseline)
    plain = make_series(600, (window,), baseline if hours_of_week else without_hours(baseline), season=season)
    ends = list(range(FROM_S + HOUR_S, FROM_S + DAY_S, 600))
    by_hour, whole = rows(seasonal, window, ends), rows(plain, window, ends)
    bins = seasonal.compiled.bins
    for (field, slice_, end), row in by_hour.items():
        other = whole[field, slice_, end]
        if (field, slice_) == ("x", ALL):
            assert row["psi"] != other["psi"]
            assert (row["season"], other["season"]) == ("hour_of_week", "none")
        else:
            # Slices and fields without a season are judged by the whole week in any case; q depends on all fields.
            same = {"baseline_id": "", "q_value": 0.0, "mean_p": 0.0}
            np.testing.assert_equal(row["mean_p"], other["mean_p"])
            assert {**row, **same} == {**other, **same}
            assert row["season"] == "none"
    window_bins = bins.window_bins(
        np.stack([sum(p.counts for s, p in plain.panes.items() if e - HOUR_S <= s < e) for e in ends])
    )
    direct = psi_verdicts(bins.base_bins, window_bins, bins.starts)
    group = bins.groups_in(0)[0]
    assert [whole["x", ALL, end]["psi"] for end in ends] == direct.psi[:, group].tolist()
    assert {row["level"] for key, row in whole.items() if key[:2] == ("x", ALL)} >= {"major"}
    assert "major" not in {row["level"] for key, row in by_hour.items() if key[:2] == ("x", ALL)}


def without_hours(baseline: Baseline) -> Baseline:
    bare = tuple(msgspec.structs.replace(field, hours_of_week={}) for field in baseline.fields)
    return msgspec.structs.replace(baseline, fields=bare, timezone="")


def with_phi(baseline: Baseline) -> Baseline:
    x, y = baseline.fields
    counts = msgspec.structs.replace(x.slices[ALL], phi={"1d": Phi(3.5, 40, "ok"), "6h": Phi(1.5, 40, "ok")})
    return msgspec.structs.replace(baseline, fields=(msgspec.structs.replace(x, slices=x.slices | {ALL: counts}), y))


def field_panes(series: Series, start_s: int, end_s: int) -> FieldPanes:
    panes = [pane for start, pane in sorted(series.panes.items()) if start_s <= start < end_s]
    columns = pane_columns(series, panes, 0, series.contract.pane_s, np.ones(len(panes), bool), range(1))
    table = table_of("panes", columns)
    at = table.schema.get_field_index("pane_start")
    table = table.set_column(at, "pane_start", table.column(at).cast(pa.int64()).cast(pa.uint32()))
    table = table.filter(pc.equal(table["field"].cast(pa.string()), "x"))
    return FieldPanes(
        PaneSelection("m", "x", start_s, end_s), "1", series.baseline_id, series.contract, series.layout, 0, 0, table
    )


@pytest.mark.parametrize("hours_of_week", [True, False])
@pytest.mark.parametrize("season", ["hour_of_week", "none"])
@pytest.mark.parametrize(("pane_s", "window"), [(600, Window(6 * HOUR_S, HOUR_S)), CASES[2]])
def test_psi_of_a_range_equals_the_monitors(pane_s: int, window: Window, season: str, hours_of_week: bool) -> None:
    baseline = with_phi(make_baseline() if hours_of_week else without_hours(make_baseline()))
    series = make_series(pane_s, (window,), baseline, season=season)
    ends = list(range(FROM_S + window.length_s, FROM_S + HOURS * HOUR_S + 1, 7 * HOUR_S))
    judged = rows(series, window, ends)
    for end in ends:
        psi: Any = compute_distribution(field_panes(series, end - window.length_s, end), DistributionQuery()).psi
        row = judged["x", ALL, end]
        assert (psi.psi, psi.low, psi.high) == (row["psi"], row["psi_low"], row["psi_high"])
        assert (psi.level, psi.df, psi.phi, psi.phi_window) == (row["level"], row["df"], row["phi"], window.name)
        assert psi.is_seasonal == (hours_of_week and season == "hour_of_week")


def test_other_ranges_use_the_phi_of_the_nearest_length() -> None:
    windows = (Window(6 * HOUR_S, HOUR_S), Window(DAY_S, HOUR_S), Window(9 * DAY_S, DAY_S, last=500))
    series = make_series(HOUR_S, windows, with_phi(make_baseline()))
    for length_s, window in ((HOUR_S, "6h"), (11 * HOUR_S, "6h"), (12 * HOUR_S, "1d"), (9 * DAY_S, "1d")):
        psi: Any = compute_distribution(field_panes(series, FROM_S, FROM_S + length_s), DistributionQuery()).psi
        assert (psi.phi_window, psi.phi) == (window, {"6h": 1.5, "1d": 3.5}[window])


def test_a_gap_in_the_range_is_noted() -> None:
    for silent, notes in (
        (range(5, 9), ["there are no events from 2026-10-24T03:00Z to 2026-10-24T07:00Z"]),
        (range(5, 6), []),
        (range(4), ["there are no events in the range before its first pane"]),
    ):
        series = make_series(HOUR_S, (Window(DAY_S, HOUR_S),), make_baseline())
        for hour in silent:
            del series.panes[FROM_S + hour * HOUR_S]
        distribution = compute_distribution(field_panes(series, FROM_S, FROM_S + HOURS * HOUR_S), DistributionQuery())
        assert distribution.notes == (*notes, "no pane has a readable sketch, so there are no quantiles")
