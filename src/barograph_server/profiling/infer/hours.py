"""Training rows by hour of the week: the counts stored in a baseline, and the counts of windows per hour."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from barograph_server.profiling.infer.summarise import CellArray
from barograph_server.sketches.baseline.baseline import HOUR_NAMES, HOURS_OF_WEEK, FieldBaseline
from barograph_server.sketches.baseline.cells import count_cells
from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.drift.season import HourArray
from barograph_server.streams.hour_of_week import compute_hours_of_week, hour_unit_s

CHUNK_ROWS = 1 << 21
CHUNK_COUNTS = 1 << 19
"""Counts of windows, hours and bins in memory at a time: about 50 MB with derived arrays."""


class TrainingHours:
    """The hour of the week of each training row.

    Args:
        at_ms: Event times, Unix milliseconds, ascending, shape (n,).
        pane_s: The pane length of the contract, in seconds: a row belongs to the hour of its pane.
    """

    def __init__(self, at_ms: IntArray, timezone: str, pane_s: int) -> None:
        unit_ms = hour_unit_s(pane_s) * 1000
        first = int(at_ms[0]) // unit_ms
        n_units = int(at_ms[-1]) // unit_ms - first + 1
        starts_s = (first + np.arange(n_units)) * (unit_ms // 1000)
        self._hour_of_week: HourArray = compute_hours_of_week(starts_s, unit_ms // 1000, timezone)
        self._unit: NDArray[np.int32] = np.empty(len(at_ms), dtype=np.int32)
        for start in range(0, len(at_ms), CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            self._unit[chunk] = at_ms[chunk] // unit_ms - first

    @property
    def rows(self) -> IntArray:
        """Number of rows per hour of the week, shape (168,)."""
        units = np.bincount(self._unit, minlength=len(self._hour_of_week))
        return np.bincount(self._hour_of_week, units, HOURS_OF_WEEK).astype(np.int64)

    def hours_of_week(self, field: FieldBaseline, cells: CellArray) -> dict[str, tuple[int, ...]]:
        """Count a field's rows per hour of the week and bin, as a baseline stores them.

        Args:
            cells: The cell of each row in order of time, shape (n,); `n_cells` stands for invalid.
        """
        bin_of_cell, n_bins = _map_cells_to_bins(field)
        counts = np.zeros((HOURS_OF_WEEK, n_bins + 1), dtype=np.int64)
        for start in range(0, len(cells), CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            counts += count_cells(
                bin_of_cell[cells[chunk]], n_bins + 1, self._hour_of_week[self._unit[chunk]], HOURS_OF_WEEK
            )
        result = counts[:, :n_bins]
        return {
            HOUR_NAMES[hour_of_week]: tuple(result[hour_of_week].tolist())
            for hour_of_week in np.flatnonzero(result.any(axis=1)).tolist()
        }

    def windows(self, field: FieldBaseline, cells: CellArray, bounds: IntArray) -> Iterator[tuple[IntArray, HourArray]]:
        """Count windows by hour, a chunk of windows at a time.

        Args:
            field: As for `hours_of_week`.
            cells: As for `hours_of_week`.
            bounds: The first row of each window, and the end of the last one.

        Yields:
            Counts of shape (W, K, bins) and the hour of the week of each, (W, K); a window has at most K hours.
        """
        if len(bounds) < 2:
            return
        bin_of_cell, n_bins = _map_cells_to_bins(field)
        begin, end = self._unit[bounds[:-1]], self._unit[bounds[1:] - 1]
        hours = int((end - begin).max()) + 1
        chunk_size = max(1, CHUNK_COUNTS // (hours * (n_bins + 1)))
        first, last = 0, len(bounds) - 1
        while first < last:
            row_limit = int(np.searchsorted(bounds, bounds[first] + CHUNK_ROWS, side="right")) - 1
            until = min(last, first + chunk_size, max(first + 1, row_limit))
            rows = slice(int(bounds[first]), int(bounds[until]))
            window = np.repeat(np.arange(until - first), np.diff(bounds[first : until + 1]))
            hour = self._unit[rows] - begin[first:until][window]
            result = count_cells(bin_of_cell[cells[rows]], n_bins + 1, window * hours + hour, (until - first) * hours)
            unit = begin[first:until, None] + np.arange(hours)
            hours_of_week = self._hour_of_week[np.minimum(unit, len(self._hour_of_week) - 1)]
            yield result.reshape(until - first, hours, n_bins + 1)[:, :, :n_bins], hours_of_week
            first = until


def _map_cells_to_bins(field: FieldBaseline) -> tuple[NDArray[np.int32], int]:
    """Return the bin of each cell, then that of invalid values, and the number of bins."""
    bin_of_cell = field.bin_of_cell()
    n_bins = bin_of_cell[-1] + 1
    return np.array([*bin_of_cell, n_bins], dtype=np.int32), n_bins
