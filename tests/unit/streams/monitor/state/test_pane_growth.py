"""Pane counts take the narrowest type that holds them, and widen before they overflow."""

from __future__ import annotations

import numpy as np
import pytest

from sketches.baseline.layout import Layout
from streams.monitor.state.compiled_baseline import CompiledBaseline
from streams.monitor.state.series import Series
from tests.support.pipeline import simple_baseline, simple_contract

BASELINE = simple_baseline()


def make_series() -> Series:
    return Series("1", BASELINE.id, CompiledBaseline.of(Layout(BASELINE)), simple_contract())


@pytest.mark.parametrize(
    ("largest", "dtype"), [(1, np.int32), (2**31 - 1, np.int32), (2**31, np.int64), (2**40, np.int64)]
)
def test_widened_counts_hold_the_largest(largest: int, dtype: type) -> None:
    pane = make_series().empty_pane(0)
    pane.narrow_counts()
    assert pane.counts.dtype == np.uint8
    pane.widen_counts(largest)
    assert pane.counts.dtype == dtype


def test_counts_beyond_32_bits_stay_exact() -> None:
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


def test_widened_counts_are_narrowed_once_written() -> None:
    series = make_series()
    pane = series.panes[0] = series.empty_pane(0)
    series.add_counts(pane, slice(0, 1), slice(0, 1), np.array([[300]]))
    assert pane.counts.dtype in (np.int32, np.int64), "it may still change"
    series.mark_written()
    assert not pane.dirty
    assert pane.counts.dtype == np.uint16
    assert pane.n_events == 300
