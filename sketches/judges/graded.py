"""Rate of faults from a judge's graded scores: prediction-powered inference with a tuned λ (PPI++).

With labels y (1 faulty, 0 sound) and scores f of n answers of gold, and scores f of N other answers,

    p̂ = ȳ + λ (f̄ of the others − f̄ of gold), λ = Cov(y, f)/Var(f)/(1 + n/N),

with Cov and Var of gold. The interval is normal: ± 1.96 √(Var(y − λf)/n + λ² Var(f of the others)/N). A λ near 0 means
that the scores add nothing. Gold must be a random sample: if its mean score differs from that of the others (p < 0.001
of a normal test), the rate is `insufficient`. The normal interval needs ten faulty and ten sound answers in gold. For
verdicts of yes or no, use `sketches.judges.strata`, which holds with fewer.

Everything is computed from sums, which add up over hours, partitions and machines.

Source: Angelopoulos, Duchi and Zrnic (2023), PPI++, arXiv 2311.01453.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from barograph_server.sketches.drift.rates import Z
from barograph_server.sketches.judges.fault_rate import (
    LEAST_GOLD,
    UNEVEN_P,
    JudgedRate,
    RateReason,
    checked_labels,
    fault_rate,
    first_reason,
    gold_rate,
)

FloatArray = NDArray[np.float64]

LEAST_OF_CLASS = 10
"""Fewest faulty, and fewest sound, answers of gold: with fewer, the normal interval covers too little."""
GOLD_SUMS = 5
"""Sums of gold: n, Σy, Σf, Σf², Σyf."""
OTHER_SUMS = 3
"""Sums of the answers without a label: N, Σf, Σf²."""


@dataclass(frozen=True, slots=True)
class GradedRate:
    """Rate of faults from graded scores; every array has the leading shape of the sums."""

    judged: JudgedRate
    tuning: FloatArray
    """λ: 0 if the scores say nothing about labels, about 1 for calibrated scores of an accurate judge."""


def gold_sums(labels: ArrayLike, scores: ArrayLike) -> FloatArray:
    """Return n, Σy, Σf, Σf² and Σyf of labelled answers, shape (5,). Sums of parts add up to those of the whole.

    Args:
        labels: 1 for faulty and 0 for sound answers, shape (n,).
        scores: of the judge, shape (n,); a higher score means that a fault is more likely.

    Raises:
        ValueError: shapes differ, a label is neither 0 nor 1, or a score is not finite.
    """
    y, f = np.asarray(labels, np.float64), _checked_scores(scores)
    if y.shape != f.shape:
        raise ValueError(f"labels {y.shape} and scores {f.shape} must have one shape: one score per label")
    y = checked_labels(y)
    return np.array([len(y), y.sum(), f.sum(), (f * f).sum(), (y * f).sum()])


def other_sums(scores: ArrayLike) -> FloatArray:
    """Return N, Σf and Σf² of answers without a label, shape (3,).

    Args:
        scores: shape (N,).

    Raises:
        ValueError: a score is not finite.
    """
    f = _checked_scores(scores)
    return np.array([len(f), f.sum(), (f * f).sum()])


def graded_rate(gold: ArrayLike, others: ArrayLike, *, margin: ArrayLike | None = None) -> GradedRate:
    """Return the rate of faults of traffic of which gold is a random sample.

    Args:
        gold: sums of `gold_sums`, shape (..., 5).
        others: sums of `other_sums`, shape (..., 3), without gold.
        margin: largest half-width of the interval that the promise allows; None for any.

    Returns:
        Without variance of the scores λ is 0. The rate is NaN without gold or others. It is `insufficient` then, if
        gold is no random sample, with less than 50 labels, with less than ten faulty or ten sound ones, and if the
        interval is wider than the margin.

    Raises:
        ValueError: sums have another shape or contradict one another, or the margin is not above 0.
    """
    of_gold, of_others = _checked_sums(gold, GOLD_SUMS, "gold"), _checked_sums(others, OTHER_SUMS, "others")
    shape = np.broadcast_shapes(of_gold.shape[:-1], of_others.shape[:-1])
    n, y, f, ff, yf = np.moveaxis(np.broadcast_to(of_gold, (*shape, GOLD_SUMS)), -1, 0)
    rows, g, gg = np.moveaxis(np.broadcast_to(of_others, (*shape, OTHER_SUMS)), -1, 0)
    if np.any((y < 0.0) | (y > n)):
        raise ValueError("gold has more faulty answers than answers; Σy must lie between 0 and n")
    is_known = (n > 1.0) & (rows > 0.0)
    size, spread, width = np.maximum(n, 1.0), np.maximum(n - 1.0, 1.0), np.maximum(rows, 1.0)
    of_y = np.maximum(y - y * y / size, 0.0) / spread
    of_f = np.maximum(ff - f * f / size, 0.0) / spread
    covariance = (yf - y * f / size) / spread
    varies = of_f > 1e-12 * np.maximum(ff / size, np.finfo(np.float64).tiny)
    tuning = np.where(varies, covariance / np.where(varies, of_f, 1.0) / (1.0 + n / width), 0.0)
    value = y / size + tuning * (g / width - f / size)
    of_residuals = np.maximum(of_y - 2.0 * tuning * covariance + tuning**2 * of_f, 0.0)
    of_others_mean = np.maximum(gg - g * g / width, 0.0) / width**2
    half = Z * np.sqrt(of_residuals / size + tuning**2 * of_others_mean)
    allowed = -ndtri(UNEVEN_P / 2.0) * np.sqrt(of_f / size + of_others_mean)
    is_uneven = is_known & (np.abs(g / width - f / size) > allowed + 1e-9 * np.abs(f / size))
    reason = first_reason(
        (~is_known, RateReason.no_gold),
        (is_uneven, RateReason.uneven_gold),
        (n < LEAST_GOLD, RateReason.little_gold),
        (np.minimum(y, n - y) < LEAST_OF_CLASS, RateReason.rare_class),
    )
    blank = np.where(is_known, 0.0, np.nan)
    rate = fault_rate(value + blank, value - half + blank, value + half + blank, reason, margin)
    return GradedRate(
        JudgedRate(
            rate,
            gold_rate(y, n, margin, is_uneven=is_uneven),
            np.where(n + rows > 0.0, n / np.maximum(n + rows, 1.0), np.nan),
        ),
        np.where(is_known, tuning, np.nan),
    )


def _checked_scores(scores: ArrayLike) -> FloatArray:
    f = np.asarray(scores, np.float64)
    if f.ndim != 1 or not np.all(np.isfinite(f)):
        raise ValueError(
            f"scores must be finite numbers of shape (n,), not of {f.shape}: leave out answers without one"
        )
    return f


def _checked_sums(sums: ArrayLike, count: int, name: str) -> FloatArray:
    values = np.asarray(sums, np.float64)
    if values.shape[-1:] != (count,):
        raise ValueError(f"sums of {name} have the shape {values.shape}; the last axis must have {count}")
    if not np.all(np.isfinite(values)) or np.any(values[..., 0] < 0.0):
        raise ValueError(f"sums of {name} must be finite, and their number of answers not negative")
    return values
