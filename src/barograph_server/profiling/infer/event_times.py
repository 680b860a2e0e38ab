"""Event times of training rows in ascending order, and how many events windows of a length have."""

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.baseline.layout import IntArray


class OrderedTimes:
    """Event times of training rows, ascending.

    Attributes:
        at_ms: Unix milliseconds, shape (n,); rows without an event time are left out.
        order: The row of each time, shape (n,); None if the rows are in this order themselves.

    Args:
        at_ms: Event times of all rows, Unix milliseconds, shape (rows,).
        null: Mask of rows without an event time, shape (rows,); not all of them.
    """

    def __init__(self, at_ms: IntArray, null: NDArray[np.bool_]) -> None:
        self.order: IntArray | None = None
        if null.any() or (at_ms[1:] < at_ms[:-1]).any():
            timed = np.flatnonzero(~null)
            self.order = timed[np.argsort(at_ms[timed], kind="stable")]
            at_ms = at_ms[self.order]
        self.at_ms = at_ms
        self.first_ms, self.last_ms = int(at_ms[0]), int(at_ms[-1])
        self._bounds: dict[int, IntArray] = {}

    def bounds(self, length_s: int) -> IntArray:
        """Return the first row of each window and the end of the last one, shape (windows + 1,).

        Windows are disjoint and aligned to multiples of the length since 1970. Those that have rows and lie wholly
        inside the training period count.
        """
        if length_s not in self._bounds:
            self._bounds[length_s] = _bounds(self.at_ms, length_s * 1000)
        return self._bounds[length_s]

    def mean_events(self, length_s: int) -> float:
        """Return the mean events of windows of a length; if none fits, extrapolate the rate of the training period."""
        bounds = self.bounds(length_s)
        if len(bounds) > 1:
            return float(bounds[-1] - bounds[0]) / (len(bounds) - 1)
        return length_s * self.mean_rate()

    def mean_rate(self) -> float:
        """Return the mean events per second of the training period."""
        return len(self.at_ms) * 1000 / max(1, self.last_ms - self.first_ms)

    def low_events(self, length_s: int, share: float) -> float:
        """Return the events that all but a share of the windows of a length have; if none fits, the mean."""
        sizes = np.diff(self.bounds(length_s))
        return float(np.quantile(sizes, share, method="lower")) if sizes.size else self.mean_events(length_s)


def _bounds(at_ms: IntArray, length_ms: int) -> IntArray:
    first, last = int(at_ms[0]), int(at_ms[-1])
    inside = np.searchsorted(at_ms, (-(-first // length_ms) * length_ms, last // length_ms * length_ms))
    window = at_ms[inside[0] : inside[1]] // length_ms
    if window.size == 0:
        return np.zeros(1, dtype=np.int64)
    begins = np.flatnonzero(window[1:] != window[:-1]) + 1
    bounds: IntArray = np.concatenate(([0], begins, [window.size])) + inside[0]
    return bounds
