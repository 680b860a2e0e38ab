"""Windows that are judged together, their counts, summed from panes or hours, and expectations by hours of the week."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from barograph.contract import Contract, Window
from numpy.typing import NDArray

from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.drift.psi import Expectation
from barograph_server.streams.hour_of_week import compute_hours_of_week, hour_unit_s
from barograph_server.streams.monitor.state.commit_rows import Columns
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.windows import step_s
from barograph_server.warehouse.tables import constant_column

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WindowSet:
    """Windows of one model and length that are judged together."""

    contract: Contract
    window: Window
    starts_s: IntArray
    """Shape (W,), ascending."""
    ends_s: IntArray
    """Shape (W,), ascending."""
    lost: FloatArray
    """Lost offsets per window, shape (W,)."""
    gaps: NDArray[np.int8]
    """Why levels are `insufficient` whatever the counts: numbers of `InsufficientReason`, shape (W,); 0 if not.

    A window that a history covers in part has one: a morning does not compare with whole days.
    """
    record_seq: int
    """Of the progress record that triggers the verdicts."""
    judged_ms: int

    def select(self, which: slice | BoolArray | IntArray) -> WindowSet:
        """Return some of the windows."""
        starts_s, ends_s, lost = self.starts_s[which], self.ends_s[which], self.lost[which]
        return replace(self, starts_s=starts_s, ends_s=ends_s, lost=lost, gaps=self.gaps[which])

    def completeness(self, events: IntArray) -> FloatArray:
        """Return the share of the events that was not lost of each window, given those counted, both of shape (W,)."""
        return np.where(self.lost > 0, events / np.maximum(events + self.lost, 1), 1.0)

    def columns(self, w: IntArray) -> Columns:
        """Return the columns of each row's window that all tables of verdicts share, given its index, shape (n,)."""
        return {
            "window": constant_column(self.window.name, len(w)),
            "window_start": self.starts_s[w],
            "window_end": self.ends_s[w],
            "judged_at": np.full(len(w), self.judged_ms, dtype=np.int64),
            "record_seq": np.full(len(w), self.record_seq, dtype=np.uint64),
        }


def window_counts(series: Series, windows: WindowSet, slices: slice = slice(None)) -> IntArray:
    """Sum the counts of windows.

    Args:
        series: its panes or hours are readable for all of the windows.
        slices: which slices; all by default.

    Returns:
        Shape (W, n_slices, width).
    """
    step = step_s(series.contract, windows.window)
    n_slices = len(range(*slices.indices(series.layout.n_slices)))
    summed = np.zeros((len(windows.ends_s), n_slices, series.layout.width), dtype=np.int64)
    total = np.zeros(summed.shape[1:], dtype=np.int64)
    firsts_s = windows.starts_s.tolist()
    start = until = firsts_s[0]
    for i, (first, end) in enumerate(zip(firsts_s, windows.ends_s.tolist(), strict=True)):
        # From one window to the next, subtract the steps that leave and add those that enter.
        if first >= until:
            total[:] = 0
            start = until = first
        for counts in series.iter_counts(start, first, step):
            total -= counts[slices]
        for counts in series.iter_counts(until, end, step):
            total += counts[slices]
        start, until = first, end
        summed[i] = total
    return summed


def seasonal_expectation(series: Series, windows: WindowSet) -> Expectation | None:
    """Return the shares that windows should have, given the hours of the week that they cover.

    Args:
        series: its panes or hours are readable for all of the windows.

    Returns:
        None if the contract does not request hours of the week, or the baseline does not have them.
    """
    season = series.compiled.season
    if season is None or not len(season.groups) or series.contract.season != "hour_of_week":
        return None
    step = step_s(series.contract, windows.window)
    first = int(windows.starts_s[0])
    cells = series.stack_counts(first, int(windows.ends_s[-1]), step, slice(1))[:, 0, series.compiled.row_cells]
    n_cells = series.layout.n_cells
    events = np.add.reduceat(cells, np.cumsum(n_cells) - n_cells, axis=1)[:, season.fields]
    summed = np.zeros((len(events) + 1, len(season.fields)), dtype=np.int64)
    np.cumsum(events, axis=0, out=summed[1:])
    unit_s = hour_unit_s(series.contract.pane_s)
    starts = first + np.arange(len(events)) * step
    unit_firsts = np.flatnonzero(np.diff(starts // unit_s, prepend=-1))
    hours_of_week, index_of_unit = np.unique(
        compute_hours_of_week(starts[unit_firsts], unit_s, season.timezone), return_inverse=True
    )
    end = (windows.ends_s - first) // step
    start = (windows.starts_s - first) // step
    n = np.zeros((len(end), len(hours_of_week), len(season.fields)), dtype=np.int64)
    unit_ends = [*unit_firsts[1:].tolist(), len(events)]
    for i, begin, until in zip(index_of_unit.tolist(), unit_firsts.tolist(), unit_ends, strict=True):
        n[:, i] += summed[np.clip(until, start, end)] - summed[np.clip(begin, start, end)]
    return season.expectation(hours_of_week.tolist(), n)
