"""The numbers of one side of a comparison in one window, from one or several series: mean, variance, sketch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from barograph.contract import Window
from numpy.typing import NDArray

from sketches.sketch.envelope import MixedSketches
from sketches.sketch.numeric import NumericSketch
from streams.monitor.state.merged_ranges import MergedRange
from streams.monitor.verdicts.sides import Member
from streams.monitor.windows import stretch_s


@dataclass(frozen=True, slots=True)
class Values:
    """What is known of the numbers of one field in one slice of one series and window, beside their counts."""

    moments: NDArray[np.float64]
    """Shape (N_MOMENTS,), around the baseline's mean."""
    sketch: NumericSketch | None
    """None where none of the values was kept. It is read, never changed."""


ReadValues = Callable[[Member, int, int], Values | None]
"""By member, field index and end of the window; None where it was not kept of every value."""


def summary_reader(window: Window, have: Callable[[int, int], None]) -> ReadValues:
    """Read values of windows of one length from what series hold merged.

    Args:
        window: length and hop.
        have: has the panes of [start, end) within reach.
    """
    held: dict[tuple[str, str, int], MergedRange] = {}

    def read(member: Member, field: int, end_s: int) -> Values | None:
        series = member.series
        key = series.version, series.baseline_id, end_s
        if key not in held:
            start_s = end_s - window.length_s
            held[key] = series.summaries.of(series, start_s, end_s, stretch_s(window), have)
        summary = held[key]
        if member.slice_index == 0:
            return Values(summary.moments[field], summary.sketches[field])
        kept = summary.kept.get((member.slice_index, field))
        return None if kept is None else Values(kept.moments[0], kept.sketch)

    return read


class PooledMoments:
    """Numbers that are gathered from several series around one centre."""

    def __init__(self) -> None:
        self.n = 0
        self.sketch: NumericSketch | None = None
        """None where the sketches are not of all numbers, or of kinds that cannot be merged."""
        self._centre = self._sum = self._squares = 0.0

    def add(self, n: int, centre: float, values: Values) -> None:
        """Add n > 0 numbers whose moments are around a centre."""
        shift_sum, shift_square_sum = float(values.moments[0]), float(values.moments[1])
        sketch = values.sketch if values.sketch is not None and values.sketch.n == n else None
        if self.n == 0:
            self._centre, self.sketch = centre, sketch
        else:
            self.sketch = _both(self.sketch, sketch)
        away = centre - self._centre
        self._sum += shift_sum + n * away
        self._squares += shift_square_sum + 2.0 * away * shift_sum + n * away * away
        self.n += n

    @property
    def mean(self) -> float:
        """NaN where there is no number; infinite or NaN where their sums are out of range."""
        return self._centre + self._sum / self.n if self.n else np.nan

    @property
    def variance(self) -> float:
        """Of the sample, divisor n − 1; NaN under two numbers."""
        if self.n < 2:
            return np.nan
        with np.errstate(invalid="ignore", over="ignore"):
            spread = np.float64(self._squares) - np.float64(self._sum) ** 2 / self.n
        return float(np.maximum(spread, 0.0)) / (self.n - 1)


def _both(one: NumericSketch | None, other: NumericSketch | None) -> NumericSketch | None:
    if one is None or other is None:
        return None
    merged = one.copy()
    try:
        merged.merge(other)
    except MixedSketches:
        return None
    return merged
