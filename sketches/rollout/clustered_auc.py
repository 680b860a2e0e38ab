"""Difference of the AUC of two models on the same rows, with days as clusters.

With DeLong's placements V (for a positive row, the share of negatives that the model scores lower, ties ½; for a
negative row, the share of positives that it scores higher), Δ = AUC of the candidate − AUC of the primary, m positives,
n negatives, and D days:

    φ_d = Σ_{positives of d} (ΔV − Δ)/m + Σ_{negatives of d} (ΔV − Δ)/n
    variance = κ D/(D − 1) Σ φ_d²,   κ of `first_lag_factor`

DeLong's variance of independent rows is far too small: `python -m tests.reference.shadow_errors` prints both standard
errors for real flights. The AUC within each day is another question and can have the opposite sign, so days are not
strata.

Only days whose labels are mature count. A day's counts must not change afterwards: the bounds of
`sketches.rollout.planned_auc` hold for looks at fixed data.

Source: DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44, 837–845; Obuchowski (1997), Biometrics 53, 567–578.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.performance.auc import class_rows, share_below
from barograph_server.sketches.rollout.autocorrelation import first_lag_factor

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AucDifference:
    """Differences of AUC; every array has the shape of the comparisons."""

    primary: FloatArray
    candidate: FloatArray
    """AUC of each model; rows of one bin are ties. NaN if a class is missing."""
    difference: FloatArray
    """candidate − primary."""
    variance: FloatArray
    """Variance of the difference for independent days: κ is left out. NaN if a class is missing."""
    kappa: FloatArray
    """Factor of the variance for correlation between days."""

    @property
    def z(self) -> FloatArray:
        """Difference in standard errors, κ included; NaN if there is no variance."""
        error = np.sqrt(self.variance * self.kappa)
        return np.asarray(self.difference / np.where(error > 0.0, error, np.nan), np.float64)


def auc_difference(primary: ArrayLike, candidate: ArrayLike) -> AucDifference:
    """Compare two models.

    Args:
        primary: labelled rows of each mature day, (..., days, bins, 3), bins by ascending score: n, Σ score, positives
            (`sketches.performance.bins`); at least two days.
        candidate: the same rows with the candidate's scores.

    Raises:
        ValueError: shapes do not fit, or the two models have different rows.
    """
    left, right = np.asarray(primary, np.float64), np.asarray(candidate, np.float64)
    if left.ndim < 3 or left.shape != right.shape or left.shape[-1] != 3 or left.shape[-3] < 2:
        raise ValueError(f"both models need histograms (..., days, bins, 3), not {left.shape} and {right.shape}")
    rows_of_days = class_rows(left)
    if not np.array_equal(rows_of_days, class_rows(right)):
        raise ValueError("both models must have the same labelled rows of each day")
    days = left.shape[-3]
    rows = rows_of_days.sum(axis=-2)
    known = rows.min(axis=-1) > 0.0
    divisor = np.where(rows > 0.0, rows, 1.0)
    # Sums of placements of each day's positives and negatives, (..., days, 2).
    left_sums, right_sums = _placement_sums(left), _placement_sums(right)
    values = [np.where(known, (sums.sum(axis=-2) / divisor)[..., 0], np.nan) for sums in (left_sums, right_sums)]
    difference = values[1] - values[0]
    excess = right_sums - left_sums - difference[..., None, None] * rows_of_days
    phi = (excess / divisor[..., None, :]).sum(axis=-1)
    return AucDifference(
        primary=values[0],
        candidate=values[1],
        difference=difference,
        variance=np.asarray(days / (days - 1.0) * np.sum(phi * phi, axis=-1), np.float64),
        kappa=first_lag_factor(phi),
    )


def _placement_sums(hist: FloatArray) -> FloatArray:
    positives = hist[..., 2]
    negatives = hist[..., 0] - positives
    below = share_below(negatives.sum(axis=-2))[..., None, :]
    above = 1.0 - share_below(positives.sum(axis=-2))[..., None, :]
    return np.stack(((positives * below).sum(axis=-1), (negatives * above).sum(axis=-1)), axis=-1)
