"""Counts of windows, summed from panes or hours, and their expectations by hours of the week."""

import numpy as np
from barograph.contract import Window

from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.drift.psi import Expectation
from barograph_server.streams.hour_of_week import compute_hours_of_week, hour_unit_s
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.windows import fixed_starts, step_s


def window_counts(
    series: Series,
    window: Window,
    ends_s: list[int],
    slices: slice = slice(None),
    *,
    starts_s: IntArray | None = None,
) -> IntArray:
    """Sum the counts of windows.

    Args:
        series: its panes or hours are readable for all of the windows.
        ends_s: ends of the windows, ascending.
        slices: which slices; all by default.
        starts_s: starts of the windows, ascending, shape (len(ends_s),); by default one length before the ends.

    Returns:
        Shape (len(ends_s), n_slices, width).
    """
    step = step_s(series.contract, window)
    n_slices = len(range(*slices.indices(series.layout.n_slices)))
    summed = np.zeros((len(ends_s), n_slices, series.layout.width), dtype=np.int64)
    total = np.zeros(summed.shape[1:], dtype=np.int64)
    firsts_s = (fixed_starts(window, ends_s) if starts_s is None else starts_s).tolist()
    start = until = firsts_s[0]
    for i, (first, end) in enumerate(zip(firsts_s, ends_s, strict=True)):
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


def seasonal_expectation(
    series: Series, window: Window, ends_s: list[int], starts_s: IntArray | None = None
) -> Expectation | None:
    """Return the shares that windows should have, given the hours of the week that they cover.

    Args:
        series: its panes or hours are readable for all of the windows.
        ends_s: ends of the windows, ascending.

    Returns:
        None if the contract does not request hours of the week, or the baseline does not have them.
    """
    season = series.compiled.season
    if season is None or not len(season.groups) or series.contract.season != "hour_of_week":
        return None
    step = step_s(series.contract, window)
    starts_s = fixed_starts(window, ends_s) if starts_s is None else starts_s
    first = int(starts_s[0])
    cells = series.stack_counts(first, ends_s[-1], step, slice(1))[:, 0, series.compiled.row_cells]
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
    end = (np.array(ends_s) - first) // step
    start = (starts_s - first) // step
    n = np.zeros((len(ends_s), len(hours_of_week), len(season.fields)), dtype=np.int64)
    unit_ends = [*unit_firsts[1:].tolist(), len(events)]
    for i, begin, until in zip(index_of_unit.tolist(), unit_firsts.tolist(), unit_ends, strict=True):
        n[:, i] += summed[np.clip(until, start, end)] - summed[np.clip(begin, start, end)]
    return season.expectation(hours_of_week.tolist(), n)
