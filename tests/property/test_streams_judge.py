from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from barograph.contract import Contract, Field, Window
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph_server.sketches.baseline.baseline import Phi, SliceCounts
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import EVENTS, IntArray, Layout
from barograph_server.sketches.baseline.levels import LEVEL_NAMES
from barograph_server.sketches.drift.distances import jensen_shannon
from barograph_server.sketches.drift.fdr import q_values
from barograph_server.sketches.drift.psi import psi_verdicts
from barograph_server.sketches.drift.rate_cells import RateCells
from barograph_server.sketches.drift.rates import RATE_KIND_NAMES, rate_verdicts
from barograph_server.streams.monitor.state.commit_rows import Columns
from barograph_server.streams.monitor.state.pane import narrowest
from barograph_server.streams.monitor.state.series import CompiledBaseline, Series
from barograph_server.streams.monitor.verdicts import judge as judging
from barograph_server.streams.monitor.verdicts.judge import judge
from barograph_server.streams.monitor.verdicts.window_counts import WindowSet, window_counts
from barograph_server.streams.monitor.windows import fixed_starts
from tests.support import baselines

PANE_S = 60
FROM_S = 1_700_000_400
WINDOWS = (Window(300, 60), Window(600, 180), Window(7_200, 3_600))


def make_series(seed: int, shape: list[int], values: list[int], panes: int) -> Series:
    """Return a series with some panes and hours, a few of them narrowed; no slice has more values than events."""
    rng = np.random.default_rng(seed)

    def cells(n: int, name: str) -> SliceCounts | None:
        phi = {"5m": Phi(value=1.0 + float(rng.random()), windows=30, flag="ok")}
        trained = SliceCounts(cells=tuple(rng.integers(0, 300, n).tolist()), phi=phi)
        return trained if name == "all" or rng.random() < 0.8 else None

    baseline = baselines.shaped(shape, values, cells, 300 * 14)
    layout = Layout(baseline)
    fields = tuple(Field(name=field.name, type="float", source=f"features.{field.name}") for field in layout.fields)
    contract = Contract(model="m", pane_s=PANE_S, windows=WINDOWS, slice_min_n=20, fields=fields)
    series = Series("1", baseline.id, CompiledBaseline.of(layout), contract, first_s=0)

    def drawn(most: int) -> IntArray:
        counts = rng.integers(0, most, (layout.n_slices, layout.width))
        counts[:, 1:4] = 0
        counts[:, EVENTS] = rng.choice([0, 1, 30], layout.n_slices) * counts[:, 4:].sum(axis=1)
        counts[counts[:, EVENTS] == 0] = 0
        return counts.astype(np.int64)

    for i in range(panes):
        if rng.random() < 0.8:
            pane = series.panes[FROM_S + i * PANE_S] = series.empty_pane(FROM_S + i * PANE_S)
            pane.counts = drawn(int(rng.choice([2, 5, 300, 70_000])))
            if rng.random() < 0.5:
                pane.narrow_counts()
    for hour_s in range(FROM_S // 3_600 * 3_600, FROM_S + panes * PANE_S, 3_600):
        series.hours[hour_s] = narrowest(drawn(300))
    return series


def plain_counts(series: Series, window: Window, ends_s: list[int]) -> IntArray:
    """Sum windows pane by pane, or hour by hour."""
    summed = np.zeros((len(ends_s), series.layout.n_slices, series.layout.width), dtype=np.int64)
    hourly = window.hop_s % 3_600 == 0
    for i, end in enumerate(ends_s):
        for at in range(end - window.length_s, end, 3_600 if hourly else PANE_S):
            if hourly and at in series.hours:
                summed[i] += series.hours[at]
            elif not hourly and at in series.panes:
                summed[i] += series.panes[at].counts
    return summed


def rows_of(columns: Columns | None) -> dict[tuple[Any, ...], dict[str, Any]]:
    if columns is None:
        return {}
    lists = {name: column.to_pylist() if hasattr(column, "to_pylist") else column for name, column in columns.items()}
    rows = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    by_key = {(row["window_end"], row["slice"], row["field"], row.get("kind", "")): row for row in rows}
    assert len(by_key) == len(rows)
    return by_key


def together(
    verdicts: Iterator[tuple[Columns | None, Columns | None]],
) -> tuple[dict[tuple[Any, ...], dict[str, Any]], dict[tuple[Any, ...], dict[str, Any]]]:
    """Return all yielded rows of `drift` and of `rates`, none of which may appear twice."""
    drift: dict[tuple[Any, ...], dict[str, Any]] = {}
    rates: dict[tuple[Any, ...], dict[str, Any]] = {}
    for drift_columns, rate_columns in verdicts:
        for rows, added in ((drift, rows_of(drift_columns)), (rates, rows_of(rate_columns))):
            assert not rows.keys() & added.keys()
            rows.update(added)
    return drift, rates


def check_same(one: dict[tuple[Any, ...], dict[str, Any]], other: dict[tuple[Any, ...], dict[str, Any]]) -> None:
    assert one.keys() == other.keys()
    for key, row in one.items():
        assert {name: repr(value) for name, value in row.items()} == {n: repr(v) for n, v in other[key].items()}


def plain_drift(series: Series, window: Window, ends_s: list[int], counts: IntArray) -> dict[Any, dict[str, Any]]:
    """Judge all groups of all slices at once, and return the rows that the contract requires."""
    bins = PsiBins(series.layout)
    window_bins, phi = bins.window_bins(counts), bins.phi(window.name)
    verdicts = psi_verdicts(bins.base_bins, window_bins, bins.starts, phi=phi, thresholds=(0.1, 0.2))
    has_row = (bins.slice_index == 0)[None, :] | (counts[:, :, EVENTS][:, bins.slice_index] >= 20)
    q = q_values(verdicts.p_value, 1.0, family=bins.slice_index, compared=has_row & verdicts.enough)
    js = jensen_shannon(bins.base_bins, window_bins, bins.starts)
    rows = {}
    for w, g in zip(*(each.tolist() for each in np.nonzero(has_row)), strict=True):
        top = int(verdicts.top_bin[w, g])
        key = ends_s[w], series.layout.slices[bins.slice_index[g]], series.layout.fields[bins.field_index[g]].name, ""
        rows[key] = {
            **{name: getattr(verdicts, name)[w, g] for name in ("n", "psi", "p_value", "visible_shift")},
            **{f"psi_{end}": getattr(verdicts, end)[w, g] for end in ("low", "high")},
            **{"q_value": q[w, g], "js": js[w, g], "phi": phi[g], "level": LEVEL_NAMES[verdicts.level[w, g]]},
            "top_bin": bins.group_labels(g)[top] if top >= 0 else "",
            "top_bin_index": np.int32(top),
        }
    return rows


def plain_rates(series: Series, window: Window, ends_s: list[int], counts: IntArray) -> dict[Any, dict[str, Any]]:
    cells = RateCells(series.layout)
    k, n, phi = cells.k(counts), cells.n(counts), cells.phi(window.name)
    has_row = (cells.slice_index == 0)[None, :] | (n >= 20) & ((k > 0) | (cells.base_k > 0))
    rows = {}
    for w, g in zip(*(each.tolist() for each in np.nonzero(has_row)), strict=True):
        base = cells.base_k[[g]], cells.base_n[[g]]
        verdicts = rate_verdicts(k[w, [g]], n[w, [g]], *base, phi=phi[[g]], base_phi=cells.base_phi[[g]])
        layout = series.layout
        at = layout.slices[cells.slice_index[g]], layout.fields[cells.field_index[g]].name
        rows[ends_s[w], *at, RATE_KIND_NAMES[cells.kind_index[g]]] = {
            **{"n": n[w, g], "k": k[w, g], "delta": verdicts.delta[0], "p_value": verdicts.p_value[0], "phi": phi[g]},
            **{"delta_low": verdicts.low[0], "delta_high": verdicts.high[0], "level": LEVEL_NAMES[verdicts.level[0]]},
        }
    return rows


SHAPES = st.lists(st.integers(2, 12) | st.integers(-5, -1), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    SHAPES,
    st.lists(st.integers(1, 4), max_size=2),
    st.integers(1, 70),
    st.sampled_from(WINDOWS),
    st.lists(st.integers(0, 40), min_size=1, max_size=7, unique=True),
)
def test_judging_in_steps_equals_judging_at_once(
    seed: int, shape: list[int], values: list[int], panes: int, window: Window, hops: list[int]
) -> None:
    series = make_series(seed, shape, values, panes)
    first = -(-FROM_S // window.hop_s) * window.hop_s
    ends = [first + hop * window.hop_s for hop in sorted(hops)]
    no_loss, whole = np.zeros(len(ends)), np.zeros(len(ends), np.int8)
    windows = WindowSet(series.contract, window, fixed_starts(window, ends), np.array(ends), no_loss, whole, 1, 1)
    always = np.ones(len(ends), dtype=bool)
    counts = window_counts(series, windows)
    assert (counts == plain_counts(series, window, ends)).all()
    drift, rates = together(judge(series, windows, always=always))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "COUNTS_PER_BATCH", 2 * series.layout.n_slices * series.layout.width)
        patch.setattr(judging, "CELLS_PER_STEP", 3 * series.layout.width)
        patch.setattr(judging, "ROWS_PER_YIELD", 10)
        stepwise = together(judge(series, windows, always=always))
    check_same(drift, stepwise[0])
    check_same(rates, stepwise[1])
    for rows, plain in (
        (drift, plain_drift(series, window, ends, counts)),
        ({key: row for key, row in rates.items() if key[3] != "error"}, plain_rates(series, window, ends, counts)),
    ):
        assert rows.keys() == plain.keys()
        for key, row in plain.items():
            assert {name: as_text(value) for name, value in row.items()} == {
                name: as_text(rows[key][name]) for name in row
            }


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else repr(float(value))


def test_narrowed_panes_and_hours_keep_counting() -> None:
    for most in (0, 255, 256, 65_535, 2**32):
        series = make_series(1, [3], [1], 0)
        pane = series.panes[FROM_S] = series.empty_pane(FROM_S)
        pane.counts[:] = most
        pane.dirty = False
        hour_s = FROM_S // 3_600 * 3_600
        series.hours[hour_s] = series.sum_hour(hour_s)
        series.mark_written()
        series.add_counts(pane, slice(0, 2), slice(0, 4), np.full((2, 4), 300, dtype=np.int64))
        expected = np.full(pane.counts.shape, most)
        expected[:2, :4] += 300
        assert (pane.counts == expected).all()
        assert (series.hours[hour_s] == expected).all()
        series.mark_written()
        assert (pane.counts == expected).all(), most
