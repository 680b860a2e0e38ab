"""The verdict on a range equals the monitor's verdict on a window of the same panes, with seasons and slices."""

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Contract, Field, Window

from barograph_server.profiling.distribution.compute import DistributionQuery, compute_distribution
from barograph_server.profiling.distribution.read import FieldPanes, PaneSelection
from barograph_server.sketches.baseline.baseline import ALL, HOUR_NAMES, Baseline, FieldBaseline, Phi, SliceCounts
from barograph_server.sketches.baseline.layout import EVENTS, Layout
from barograph_server.streams.hour_of_week import compute_hours_of_week
from barograph_server.streams.monitor.rows.pane_rows import pane_columns
from barograph_server.streams.monitor.state.series import CompiledBaseline, Series
from barograph_server.streams.monitor.verdicts.judge import judge
from barograph_server.warehouse.tables import table_of

ZONE = "Europe/Berlin"
HOUR_S, DAY_S = 3_600, 86_400
FROM_S = int(datetime(2026, 10, 24, tzinfo=ZoneInfo(ZONE)).timestamp())
"""The night that ends summer time lies in the second day."""
DAYS = 3


def shares() -> np.ndarray:
    """Per slot: two bins that change with the hour, and nulls."""
    high = 0.1 + 0.75 * (np.arange(168) % 24 >= 12)
    return np.stack([0.98 - high, high, np.full(168, 0.02)], axis=1)


def make_baseline(*, hours_of_week: bool) -> Baseline:
    x = np.random.default_rng(1).multinomial(np.full(168, 900), shares())
    phi = {"1d": Phi(3.5, 40, "ok"), "6h": Phi(1.5, 40, "ok")}
    field = FieldBaseline(
        name="x",
        kind="numeric",
        edges=(0.0,),
        hours_of_week={HOUR_NAMES[s]: tuple(row) for s, row in enumerate(x.tolist())} if hours_of_week else {},
        slices={ALL: SliceCounts(cells=tuple(x.sum(axis=0).tolist()), phi=phi)},
    )
    rows = int(x.sum())
    return Baseline(
        model="m",
        version="1",
        rows=rows,
        slice_rows={ALL: rows},
        timezone=ZONE if hours_of_week else "",
        fields=(field,),
    )


def make_contract(pane_s: int, *windows: Window) -> Contract:
    fields = (Field(name="x", type="float", source="features.x"),)
    return Contract(model="m", timezone=ZONE, pane_s=pane_s, windows=windows, fields=fields)


def make_series(contract: Contract, baseline: Baseline) -> Series:
    series = Series("1", baseline.id, CompiledBaseline.of(Layout(baseline)), contract, first_s=0)
    rng = np.random.default_rng(2)
    for start_s in range(FROM_S, FROM_S + DAYS * DAY_S, contract.pane_s):
        pane = series.panes[start_s] = series.empty_pane(start_s)
        hour_of_week = int(compute_hours_of_week(np.array([start_s]), max(HOUR_S, contract.pane_s), ZONE)[0])
        at = int(series.layout.starts[0])
        tilted = shares()[hour_of_week] * [1.1, 0.8, 1.0]
        pane.counts[0, at : at + 3] = rng.multinomial(int(rng.integers(1, 400)), tilted / tilted.sum())
        pane.counts[0, EVENTS] = pane.counts[0, at : at + 3].sum()
    for hour_s in range(FROM_S, FROM_S + DAYS * DAY_S, HOUR_S):
        inside = [pane.counts for start, pane in series.panes.items() if hour_s <= start < hour_s + HOUR_S]
        series.hours[hour_s] = sum(inside, start=series.layout.empty_counts())
    return series


def field_panes(series: Series, start_s: int, end_s: int) -> FieldPanes:
    panes = [pane for start, pane in sorted(series.panes.items()) if start_s <= start < end_s]
    columns = pane_columns(series, panes, 0, series.contract.pane_s, np.ones(len(panes), bool))
    table = table_of("panes", columns)
    at = table.schema.get_field_index("pane_start")
    table = table.set_column(at, "pane_start", table.column(at).cast(pa.int64()).cast(pa.uint32()))
    return FieldPanes(
        PaneSelection("m", "x", start_s, end_s), "1", series.baseline_id, series.contract, series.layout, 0, 0, table
    )


@pytest.mark.parametrize("hours_of_week", [True, False])
@pytest.mark.parametrize("season", ["hour_of_week", "none"])
@pytest.mark.parametrize(("pane_s", "window"), [(600, Window(6 * HOUR_S, HOUR_S)), (HOUR_S, Window(DAY_S, HOUR_S))])
def test_psi_equals_the_monitors(pane_s: int, window: Window, season: str, hours_of_week: bool) -> None:
    baseline = make_baseline(hours_of_week=hours_of_week)
    contract = msgspec.structs.replace(make_contract(pane_s, window), season=season)
    series = make_series(contract, baseline)
    ends = list(range(FROM_S + window.length_s, FROM_S + DAYS * DAY_S + 1, 7 * HOUR_S))
    always = np.ones(len(ends), bool)
    ((drift, _),) = judge(series, window, ends, np.zeros(len(ends)), always, 1, 1, always=always)
    assert drift is not None
    levels = drift["level"].to_pylist()
    for i, end in enumerate(ends):
        psi = compute_distribution(field_panes(series, end - window.length_s, end), DistributionQuery()).psi
        assert psi is not None
        assert (psi.psi, psi.low, psi.high) == (drift["psi"][i], drift["psi_low"][i], drift["psi_high"][i])
        assert (psi.level, psi.df, psi.phi, psi.phi_window) == (levels[i], drift["df"][i], drift["phi"][i], window.name)
        assert psi.is_seasonal == (hours_of_week and season == "hour_of_week")


def test_other_ranges_use_the_phi_of_the_nearest_length() -> None:
    windows = (Window(6 * HOUR_S, HOUR_S), Window(DAY_S, HOUR_S), Window(9 * DAY_S, DAY_S, last=500))
    series = make_series(make_contract(HOUR_S, *windows), make_baseline(hours_of_week=False))
    for length_s, window in ((HOUR_S, "6h"), (11 * HOUR_S, "6h"), (12 * HOUR_S, "1d"), (9 * DAY_S, "1d")):
        psi = compute_distribution(field_panes(series, FROM_S, FROM_S + length_s), DistributionQuery()).psi
        assert psi is not None
        assert (psi.phi_window, psi.phi) == (window, {"6h": 1.5, "1d": 3.5}[window])


def test_a_gap_in_the_range_is_noted() -> None:
    for silent, notes in (
        (range(5, 9), ["there are no events from 2026-10-24T03:00Z to 2026-10-24T07:00Z"]),
        (range(5, 6), []),
        (range(4), ["there are no events in the range before its first pane"]),
    ):
        series = make_series(make_contract(HOUR_S, Window(DAY_S, HOUR_S)), make_baseline(hours_of_week=False))
        for hour in silent:
            del series.panes[FROM_S + hour * HOUR_S]
        distribution = compute_distribution(field_panes(series, FROM_S, FROM_S + DAYS * DAY_S), DistributionQuery())
        assert distribution.notes == (*notes, "no pane has a readable sketch, so there are no quantiles")
