"""Windows are judged by their hours of the week, if the contract requests it and the baseline has them."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, Field, Slice, Window

from barograph_server.sketches.baseline.baseline import (
    ALL,
    HOUR_NAMES,
    Baseline,
    FieldBaseline,
    SliceCounts,
    SliceValues,
)
from barograph_server.sketches.baseline.layout import EVENTS, Layout
from barograph_server.sketches.drift.psi import psi_verdicts
from barograph_server.sketches.drift.season import Season
from barograph_server.streams.hour_of_week import compute_hours_of_week
from barograph_server.streams.monitor.state.commit_rows import Columns
from barograph_server.streams.monitor.state.series import CompiledBaseline, Series
from barograph_server.streams.monitor.verdicts.judge import judge

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
    y = rng.multinomial(x.sum(axis=1), [0.5, 0.45, 0.05])

    def field(name: str, hours_of_week: np.ndarray) -> FieldBaseline:
        whole = hours_of_week.sum(axis=0)
        north = whole // 2
        return FieldBaseline(
            name=name,
            kind="numeric",
            edges=(0.0,),
            hours_of_week={HOUR_NAMES[s]: tuple(row) for s, row in enumerate(hours_of_week.tolist())}
            if name == "x"
            else {},
            slices={
                name_: SliceCounts(cells=tuple(counts.tolist()))
                for name_, counts in ((ALL, whole), ("region=north", north), ("region=other", whole - north))
            },
        )

    fields = (field("x", x), field("y", y))
    rows = int(x.sum())
    north = sum(fields[0].slices["region=north"].cells)
    balanced = SliceCounts(cells=(north - 20, 20, 0))
    rest = fields[1].slices[ALL].cells
    other = SliceCounts(cells=tuple(a - b for a, b in zip(rest, balanced.cells, strict=True)))
    fields = (
        fields[0],
        msgspec.structs.replace(
            fields[1], slices={ALL: fields[1].slices[ALL], "region=north": balanced, "region=other": other}
        ),
    )
    return Baseline(
        model="m",
        version="1",
        rows=rows,
        slice_rows={ALL: rows, "region=north": north, "region=other": rows - north},
        dimensions=(SliceValues(name="region", source="context.region", values=("north",), trained=True),),
        timezone=ZONE,
        fields=fields,
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
    nothing, all_ = np.zeros(len(ends_s)), np.ones(len(ends_s), dtype=bool)
    ((drift, _),) = judge(series, window, ends_s, nothing, all_, 1, 1, always=all_)
    assert drift is not None
    return {(row["field"], row["slice"], int(row["window_end"])): row for row in as_rows(drift)}


def as_rows(columns: Columns) -> list[dict[str, Any]]:
    lists = {
        name: column.to_pylist() if hasattr(column, "to_pylist") else list(column) for name, column in columns.items()
    }
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


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
        assert row["psi"] == verdicts.psi[0, group]
        assert row["psi_high"] == verdicts.high[0, group]
        assert row["p_value"] == verdicts.p_value[0, group]
        top = int(bins.starts[group]) + row["top_bin_index"]
        assert row["expected_share"] == expected.share[0, top]


@pytest.mark.parametrize("missing", ["the request in the contract", "the hours in the baseline"])
def test_without_request_or_hours_the_whole_week_judges(missing: str) -> None:
    baseline = make_baseline()
    window = Window(HOUR_S, 600)
    seasonal = make_series(600, (window,), baseline)
    if missing == "the request in the contract":
        plain = make_series(600, (window,), baseline, season="none")
    else:
        bare = tuple(msgspec.structs.replace(field, hours_of_week={}) for field in baseline.fields)
        plain = make_series(600, (window,), msgspec.structs.replace(baseline, fields=bare, timezone=""))
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
            same = {"baseline_id": "", "q_value": 0.0}
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
