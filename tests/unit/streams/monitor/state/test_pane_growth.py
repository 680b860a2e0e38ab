"""Counts of a pane take as few bytes as they can, and never too few."""

from __future__ import annotations

import numpy as np
import pytest

from sketches.baseline.layout import Layout
from streams.monitor.state.series import Compiled, Series
from tests.support.pipeline import simple_baseline, simple_contract

BASELINE = simple_baseline()


def make_series() -> Series:
    return Series("1", BASELINE.id, Compiled.of(Layout(BASELINE)), simple_contract())


@pytest.mark.parametrize(("most", "kind"), [(1, np.int32), (2**31 - 1, np.int32), (2**31, np.int64), (2**40, np.int64)])
def test_counts_grow_in_the_type_that_holds_them(most: int, kind: type) -> None:
    pane = make_series().empty_pane(0)
    pane.compact()
    assert pane.counts.dtype == np.uint8
    pane.make_room(most)
    assert pane.counts.dtype == kind


def test_counts_beyond_32_bits_stay_exact() -> None:
    series = make_series()
    pane = series.panes[0] = series.empty_pane(0)
    pane.compact()
    whole, width = slice(0, series.layout.n_slices), slice(0, series.layout.width)
    more = np.full(pane.counts.shape, 2**30, dtype=np.int64)
    for i in range(1, 5):
        series._add(pane, whole, width, more)
        assert (pane.counts == i * 2**30).all()
    series.written()
    assert pane.counts.dtype == np.int64, "no smaller type holds 2 to the 32nd"
    assert (pane.counts == 2**32).all()


def test_counts_that_grew_are_compacted_once_they_are_written() -> None:
    series = make_series()
    pane = series.panes[0] = series.empty_pane(0)
    series._add(pane, slice(0, 1), slice(0, 1), np.array([[300]]))
    assert pane.counts.dtype in (np.int32, np.int64), "it may change yet"
    series.written()
    assert not pane.dirty
    assert pane.counts.dtype == np.uint16
    assert pane.n_events == 300
