"""Merging of moments and sketches: one rule for complete and incomplete data.

Moments are four numbers per set of values, in this order: sum of (x − center), sum of (x − center)², minimum, maximum.
The center is the mean of the field's training values.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.sketch.categorical import UnseenCategories
from barograph_server.sketches.sketch.envelope import MixedSketches
from barograph_server.sketches.sketch.numeric import NumericSketch

FloatArray = NDArray[np.float64]

N_MOMENTS = 4
"""Sum of (x − center), sum of (x − center)², minimum, maximum."""


def empty_moments(*shape: int) -> FloatArray:
    """Return the moments of no values, which merging leaves neutral, of shape (*shape, N_MOMENTS)."""
    moments = np.zeros((*shape, N_MOMENTS))
    moments[..., 2], moments[..., 3] = np.inf, -np.inf
    return moments


def merge_moments(into: FloatArray, other: FloatArray) -> None:
    """Add moments around the same center in place.

    Args:
        into: shape (…, N_MOMENTS). Sums beyond the range of doubles become infinite or NaN.
        other: of the same shape; left as it is.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        into[..., :2] += other[..., :2]
    np.minimum(into[..., 2], other[..., 2], out=into[..., 2])
    np.maximum(into[..., 3], other[..., 3], out=into[..., 3])


def recenter_moments(moments: FloatArray, n: int, shift: float) -> FloatArray:
    """Return the moments of the same values around another center.

    Args:
        moments: shape (N_MOMENTS,), of n values.
        shift: the old center less the new one.
    """
    recentered = moments.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        recentered[0] += n * shift
        recentered[1] += 2.0 * shift * moments[0] + n * shift * shift
    return recentered


def merge_sketch(
    into: NumericSketch | UnseenCategories | None, other: NumericSketch | UnseenCategories | None
) -> NumericSketch | UnseenCategories | None:
    """Merge two sketches of one field, either of which may be missing.

    Returns:
        `into` with all values of both, or the one that is present.

    Raises:
        MixedSketches: the sketches differ in type; nothing was merged.
    """
    if into is None or other is None:
        return other if into is None else into
    into.merge(other)  # type: ignore[arg-type]
    return into


@dataclass(slots=True)
class NumberSummary:
    """Moments and sketch of one numeric field's values, and whether both describe every value that was counted.

    A summary is complete if its moments and its sketch each hold every value of its field, slice and time that the
    exact counts hold. It is incomplete if a sketch was never collected, cannot be opened, or differs in type from the
    sketch it should merge with.

    The rule for incomplete data: a summary that merges with an incomplete one is incomplete, and an incomplete summary
    has no sketch, because a sketch of some values would pass for a sketch of all. Moments are merged all the same, so
    each caller knows whether they are usable: those of the slice `all` are collected for every value and stay valid
    without a sketch; those of any other slice are collected only together with a sketch, so they are valid only if the
    summary is complete.
    """

    moments: FloatArray = field(default_factory=empty_moments)
    """Shape (N_MOMENTS,). `merge` changes it in place."""
    sketch: NumericSketch | None = None
    """None if there are no values or the summary is incomplete. `merge` changes it in place."""
    complete: bool = True

    def __post_init__(self) -> None:
        if not self.complete:
            self.sketch = None

    @classmethod
    def counted(cls, n: int, moments: FloatArray, sketch: NumericSketch | None) -> NumberSummary:
        """Return a summary that is complete if its sketch holds exactly the n values that were counted.

        Args:
            n: number of valid values according to the exact counts.
            moments: shape (N_MOMENTS,).
        """
        return cls(moments, sketch, complete=(0 if sketch is None else sketch.n) == n)

    @property
    def n(self) -> int:
        """Number of values that the sketch holds; 0 if the summary is incomplete."""
        return 0 if self.sketch is None else self.sketch.n

    @property
    def n_bytes(self) -> int:
        """Approximate size in memory."""
        return self.moments.nbytes + (0 if self.sketch is None else self.sketch.n_bytes)

    def copy(self) -> NumberSummary:
        """Return an independent summary of the same values."""
        return NumberSummary(self.moments.copy(), None if self.sketch is None else self.sketch.copy(), self.complete)

    def merge(self, other: NumberSummary, *, reuse: bool = False) -> None:
        """Add the values of another summary around the same center.

        Sketches of different types make the summary incomplete; nothing is raised.

        Args:
            other: left as it is, unless `reuse`.
            reuse: whether the sketch of `other` may be taken over instead of copied, because nobody needs it again.
        """
        merge_moments(self.moments, other.moments)
        self.merge_sketch(other, reuse=reuse)

    def merge_sketch(self, other: NumberSummary, *, reuse: bool = False) -> None:
        """Add the sketch of another summary; the caller merges the moments, those of many fields in one operation.

        Args:
            other: left as it is, unless `reuse`.
            reuse: as `merge` defines it.
        """
        self.complete = self.complete and other.complete
        if self.complete and other.sketch is not None:
            if self.sketch is None:
                self.sketch = other.sketch if reuse else other.sketch.copy()
            else:
                try:
                    self.sketch.merge(other.sketch)
                except MixedSketches:
                    self.complete = False
        if not self.complete:
            self.sketch = None
