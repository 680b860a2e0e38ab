"""Exact bin edges and quantiles of training values, from the sorted values."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
_Positions = NDArray[np.intp]

DECILES = 10
POINT_MASS = 10
"""A value with at least one in this many rows has its own bin."""
FEW_INTEGERS = 20
"""Largest number of distinct whole numbers that have one bin each."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)


def freeze_edges(sorted_values: FloatArray, integer: bool) -> tuple[float, ...]:
    """Choose the inner edges of a field's bins from all its valid training values.

    Edges lie at the deciles and on both sides of every value with at least a tenth of the rows; a decile within a run
    of equal values moves to the nearer end of the run. At most 20 distinct whole numbers get one bin each. Each edge is
    midway between two neighboring distinct values.

    A field of 32-bit precision (`integer` false) may be trained on doubles and served as floats, or vice versa, and a
    training value must fall in the same bin in both forms. So values that are equal as 32-bit floats count as one
    value, which no edge divides; and if rounding would move a neighbor across the midpoint (at powers of two), the edge
    is midway between the larger form of the left neighbor and the smaller form of the right one.

    A constant field has no neighbors, and with one bin other values would go undetected. It gets three: an edge on
    either side of the constant, half a unit away for whole numbers, else one and a half steps of the 32-bit float, so
    that a rounding difference in the last digit is the same value and anything else is in an outer bin.

    Args:
        sorted_values: shape (n,), ascending and finite.
        integer: the baseline's `integer`: values are whole numbers or large, kept in doubles.

    Returns:
        Strictly ascending finite edges; none without values.
    """
    n = sorted_values.size
    if n == 0:
        return ()
    as_served = sorted_values if integer else _as_float32(sorted_values)
    starts = np.flatnonzero(as_served[1:] != as_served[:-1]) + 1
    if starts.size == 0:
        return _around(float(sorted_values[0]), float(sorted_values[-1]), integer=integer)
    cuts = starts if integer and starts.size < FEW_INTEGERS else _cuts(starts, n)
    return tuple(
        _midway(float(sorted_values[cut - 1]), float(sorted_values[cut]), integer=integer) for cut in cuts.tolist()
    )


def exact_quantiles(sorted_values: FloatArray, ranks: ArrayLike) -> FloatArray:
    """Return, for each rank, the smallest value whose share of values ≤ it reaches the rank.

    Args:
        sorted_values: shape (n,), ascending and finite.
        ranks: shape (r,), in [0, 1]; 0 gives the minimum.

    Returns:
        Shape (r,), each one of the values; shape (0,) without values.
    """
    n = sorted_values.size
    if n == 0:
        return np.empty(0)
    # The small term corrects products such as 0.07 · 100 = 7.000000000000001.
    position = np.ceil(np.asarray(ranks, dtype=np.float64) * n - 1e-6).astype(np.intp) - 1
    return sorted_values[np.clip(position, 0, n - 1)]


def _cuts(starts: _Positions, n: int) -> _Positions:
    """Return the rows of the edges: the ends of runs nearest to the deciles, and both ends of heavy runs.

    Args:
        starts: first row of every run of equal values but the first run, ascending.
    """
    targets = np.arange(1, DECILES) * n / DECILES
    right = np.minimum(np.searchsorted(starts, targets), starts.size - 1)
    left = np.maximum(right - 1, 0)
    nearer = np.where(targets - starts[left] <= starts[right] - targets, starts[left], starts[right])
    bounds = np.concatenate(([0], starts, [n]))
    heavy = np.flatnonzero(np.diff(bounds) * POINT_MASS >= n)
    sides = np.concatenate((bounds[heavy], bounds[heavy + 1]))
    cuts = np.union1d(nearer, sides)
    return cuts[(cuts > 0) & (cuts < n)]


def _as_float32(values: FloatArray) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _midway(left: float, right: float, *, integer: bool) -> float:
    """Return an edge e with left < e <= right, in both precisions unless `integer`."""
    if not integer:
        narrow_left, narrow_right = _as_float32(np.array([left, right])).tolist()
        middle = left / 2 + right / 2
        if max(left, narrow_left) < middle <= min(right, narrow_right):
            return middle
        left, right = max(left, narrow_left), min(right, narrow_right)
    middle = left / 2 + right / 2
    # There is no third double between two neighbors: the right one is the first value of its bin.
    return middle if left < middle <= right else right


def _around(least: float, largest: float, *, integer: bool) -> tuple[float, ...]:
    """Return the edges on both sides of a constant field's value."""
    if not integer and abs(least) <= _FLOAT32_MAX:
        # Within two steps of the largest float there is no further step: the outer bin on that side has no edge.
        return tuple(point for point in _half_steps(np.float32(least)) if math.isfinite(point))
    # If half a unit is lost in rounding, the bin starts at the constant and ends at the next double.
    low = min(least, least - 0.5)
    high = largest + 0.5 if largest + 0.5 > largest else math.nextafter(largest, math.inf)
    return (low, high) if math.isfinite(high) else (low,)


def _half_steps(value: np.float32) -> tuple[float, float]:
    """Return the points one and a half 32-bit steps below and above; infinite beyond the range."""
    points = []
    with np.errstate(over="ignore"):
        for direction in (np.float32(-np.inf), np.float32(np.inf)):
            first = np.nextafter(value, direction)
            second = np.nextafter(first, direction)
            points.append((float(first) + float(second)) / 2)
    return points[0], points[1]
