"""E-processes of day blocks: evidence against a mean difference δ₀ that stays valid at every look.

Increments X that are symmetric around 0 given the past make exp(λΣX − λ²ΣX²/2) a supermartingale for every λ, without
any condition on moments. Here X = (D − δ₀n)/s₀ of each day after the burn-in, s₀² is the mean of (D − δ₀n)² over the
burn-in (s₀ at least ½ event), S = ΣX, V = κ ΣX², and κ of `first_lag_factor` of the burn-in. λ is mixed over normal
distributions of variance 1/c:

    E = mean over c ∈ {1, 4, 16} of √(c/(V + c)) exp(S²/(2(V + c)))
    E better = mean of 2 √(c/(V + c)) exp(S²/(2(V + c))) Φ(S/√(V + c)), and E worse with −S.

By Ville's inequality E ever reaches 1/α with probability at most α. This is exact if days are independent and, at
δ₀ = 0, the two models are exchangeable within a day; κ is an approximation for correlated days. Days that are too alike
for an interval keep their evidence: κ of the burn-in is then large.

Source: de la Peña (1999), Annals of Probability 27, 537–564.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr

from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS, checked_days, first_lag_factor

FloatArray = NDArray[np.float64]

PRECISIONS = np.array([1.0, 4.0, 16.0])
"""1/variance of the mixtures over λ: the smallest detects large differences, the largest small ones."""
LEAST_SCALE = 0.5
"""Least s₀, in events."""
ERRORS = 0.5
"""Standard errors of r₁ that κ of the burn-in adds: half of those of an interval, as κ stays the same later."""


@dataclass(frozen=True, slots=True)
class DayEvidence:
    """Logarithms of E after each day that follows the burn-in; arrays have the shape (..., days − burn-in).

    The last entry is the evidence at the last look. Neither a maximum over days nor a sum over models is an e-value;
    products of independent series and means of any series are.
    """

    different: FloatArray
    """Against δ₀ from both sides."""
    better: FloatArray
    """Evidence that the mean is above δ₀."""
    worse: FloatArray
    """Evidence that the mean is below δ₀."""


def day_evidence(
    differences: ArrayLike,
    pairs: ArrayLike,
    null: ArrayLike = 0.0,
    *,
    burn_in: int = BURN_IN_DAYS,
    kappa: ArrayLike | None = None,
) -> DayEvidence:
    """Return the evidence of each series after each day.

    Args:
        differences: sums of the differences of each local day, (..., t), t above the burn-in.
        pairs: pairs of each day, above 0, broadcast against `differences`.
        null: δ₀ per pair, of the shape of the series.
        burn_in: first days, which give s₀ and κ and no evidence; at least 2.
        kappa: of the shape of the series; None computes it from the burn-in.

    Raises:
        ValueError: there is no day after the burn-in, or a day has no pairs.
    """
    sums, counts = checked_days(differences, pairs)
    if not 2 <= burn_in < sums.shape[-1]:
        raise ValueError(f"a burn-in of {burn_in} days must have at least 2 and leave one of the {sums.shape[-1]} days")
    if kappa is None:
        kappa = _burn_in_factor(sums, counts, burn_in)
    x = _scaled(sums, counts, null, burn_in)
    total = np.cumsum(x, axis=-1)
    variance = np.asarray(kappa, np.float64)[..., None] * np.cumsum(x * x, axis=-1)
    return log_evidence(total, variance)


def log_evidence(total: FloatArray, variance: FloatArray) -> DayEvidence:
    """Return the evidence of sums of scaled increments.

    Args:
        total: S, of any shape.
        variance: V, of the same shape.
    """
    log_e = _log_terms(total, variance)
    z = total[..., None] / np.sqrt(variance[..., None] + PRECISIONS)
    return DayEvidence(
        different=_log_mean(log_e),
        better=_log_mean(log_e + np.log(2.0) + log_ndtr(z)),
        worse=_log_mean(log_e + np.log(2.0) + log_ndtr(-z)),
    )


def _scaled(sums: FloatArray, counts: FloatArray, null: ArrayLike, burn_in: int) -> FloatArray:
    """Return X of the days after the burn-in."""
    excess = sums - np.asarray(null, np.float64)[..., None] * counts
    scale = np.maximum(np.sqrt(np.mean(excess[..., :burn_in] ** 2, axis=-1, keepdims=True)), LEAST_SCALE)
    return np.asarray(excess[..., burn_in:] / scale, np.float64)


def _log_terms(total: FloatArray, variance: FloatArray) -> FloatArray:
    """Return the logarithm of E for each precision, (..., 3)."""
    wide = variance[..., None] + PRECISIONS
    return np.asarray(0.5 * (np.log(PRECISIONS / wide) + total[..., None] ** 2 / wide), np.float64)


def _burn_in_factor(sums: FloatArray, counts: FloatArray, burn_in: int) -> FloatArray:
    first, first_counts = sums[..., :burn_in], counts[..., :burn_in]
    mean = first.sum(axis=-1, keepdims=True) / first_counts.sum(axis=-1, keepdims=True)
    return first_lag_factor(first - mean * first_counts, ERRORS)


def _log_mean(log_e: FloatArray) -> FloatArray:
    return np.asarray(np.logaddexp.reduce(log_e, axis=-1) - np.log(log_e.shape[-1]), np.float64)
