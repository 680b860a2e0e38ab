"""Numbers of one side of a comparison in one window, pooled from one or several series."""

from collections.abc import Callable

import numpy as np

from barograph_server.sketches.sketch.merge import NumberSummary, recenter_moments
from barograph_server.sketches.sketch.numeric import NumericSketch
from barograph_server.streams.monitor.state.merged_ranges import MergedRange
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.verdicts.sides import SeriesSlice

ReadNumbers = Callable[[SeriesSlice, int, int], NumberSummary | None]
"""Returns the numbers of a series and slice by field index and end of the window; None if there are none.

The summary is read, never changed.
"""


def number_reader(merge_window: Callable[[Series, int], MergedRange]) -> ReadNumbers:
    """Return a function that reads numbers of windows of one length and merges each window once.

    Args:
        merge_window: merges the window of a series that ends at a time.
    """
    windows: dict[tuple[str, str, int], MergedRange] = {}

    def read(member: SeriesSlice, field_index: int, end_s: int) -> NumberSummary | None:
        series = member.series
        key = series.version, series.baseline_id, end_s
        if key not in windows:
            windows[key] = merge_window(series, end_s)
        return windows[key].numbers.get((member.slice_index, field_index))

    return read


class PooledMoments:
    """Numbers of several series, pooled around the center of the first."""

    def __init__(self) -> None:
        self.n = 0
        self._center = 0.0
        self._summary = NumberSummary()

    def add(self, n: int, center: float, summary: NumberSummary) -> None:
        """Add n > 0 numbers, whose moments are around `center`; the summary stays as it is."""
        if self.n == 0:
            self._center, self._summary = center, summary
        else:
            recentered = recenter_moments(summary.moments, n, center - self._center)
            self._summary = self._summary.copy()
            self._summary.merge(NumberSummary(recentered, summary.sketch, complete=summary.complete))
        self.n += n

    @property
    def sketch(self) -> NumericSketch | None:
        """None if no sketch covers all numbers, or there are none."""
        return self._summary.sketch

    @property
    def mean(self) -> float:
        """NaN without numbers; infinite or NaN if their sums are out of range."""
        return self._center + float(self._summary.moments[0]) / self.n if self.n else np.nan

    @property
    def variance(self) -> float:
        """Sample variance, divisor n − 1; NaN for fewer than two numbers."""
        if self.n < 2:
            return np.nan
        total, squares = self._summary.moments[:2]
        with np.errstate(invalid="ignore", over="ignore"):
            spread = squares - total**2 / self.n
        return float(np.maximum(spread, 0.0)) / (self.n - 1)
