"""Rate of faults from answers that were chosen for labels because the judge is unsure about them.

With the judge's probability f of a fault, answer i is labelled, independently of all others (Poisson sampling), with
probability

    πᵢ = min(1, n/N (½ + ½ wᵢ/w̄)), w = √(f (1 − f)).

One half is spread evenly, so that no answer is excluded, even if the judge is sure and wrong. Every judged answer has
g = f + ξ/π (y − f), with ξ = 1 if it was labelled and 0 otherwise. Then p̂ = mean of g, with the standard error
sd(g)/√N, is unbiased for every judge. Without the weights 1/π, labels say nothing about the traffic: the interval of
their plain mean almost never covers the rate.

**Store π with each label**, and read neither drift, sensitivity nor specificity from these labels without weights.

Source: Zrnic and Candès (2024), active statistical inference, arXiv 2403.03208.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.drift.rates import Z
from barograph_server.sketches.judges.fault_rate import (
    LEAST_GOLD,
    FaultRate,
    RateReason,
    checked_labels,
    fault_rate,
    first_reason,
)

FloatArray = NDArray[np.float64]


def sampling_probabilities(scores: ArrayLike, budget: float) -> FloatArray:
    """Return the probability of each answer to be labelled.

    Args:
        scores: the judge's probabilities of a fault, shape (N,).
        budget: labels that people can give on average, above 0.

    Returns:
        Shape (N,), above 0 and at most 1. Their sum is the budget, or less if some are 1.

    Raises:
        ValueError: there are no scores, one is outside [0, 1], or the budget is not above 0.
    """
    f = _checked_probabilities(scores)
    if not 0.0 < budget < np.inf:
        raise ValueError(f"the budget must be a number of labels above 0, not {budget}")
    doubt = np.sqrt(f * (1.0 - f))
    mean = doubt.mean()
    relative = doubt / mean if mean > 0.0 else np.ones(f.shape)
    return np.minimum(1.0, budget / len(f) * (0.5 + 0.5 * relative))


def active_rate(
    scores: ArrayLike,
    labelled: ArrayLike,
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    margin: ArrayLike | None = None,
) -> FaultRate:
    """Return the rate of faults of all judged answers, with a normal interval.

    Args:
        scores: the judge's probabilities of a fault of all answers, shape (N,).
        labelled: indices of the answers with a label, shape (n,), each at most once.
        labels: their labels, 1 for faulty and 0 for sound, shape (n,).
        probabilities: their probabilities of being labelled, π, shape (n,).
        margin: largest half-width of the interval that the promise allows; None for any.

    Returns:
        Arrays of shape (); `insufficient` with less than 50 labels, and if the interval is wider than the margin.

    Raises:
        ValueError: shapes do not fit, an index is repeated or outside, a label is neither 0 nor 1, or π is not above 0
            and at most 1.
    """
    f = _checked_probabilities(scores)
    indices, y, pi = np.asarray(labelled, np.int64), np.asarray(labels, np.float64), np.asarray(probabilities)
    if not indices.ndim == 1 or not indices.shape == y.shape == pi.shape:
        raise ValueError(f"indices {indices.shape}, labels {y.shape} and π {pi.shape} must have one shape (n,)")
    if len(f) < 2:
        raise ValueError("a rate needs at least two judged answers")
    if indices.size and not 0 <= indices.min() <= indices.max() < len(f):
        raise ValueError(f"indices of labelled answers must lie between 0 and {len(f) - 1}")
    if len(np.unique(indices)) != len(indices):
        raise ValueError("an answer is labelled twice; settle disagreements before, so that each has one label")
    y = checked_labels(y)
    if not np.all((pi > 0.0) & (pi <= 1.0)):
        raise ValueError("π must be above 0 and at most 1: use the probabilities that were stored with the labels")
    g = f.copy()
    g[indices] += (y - f[indices]) / pi
    value = np.asarray(g.mean())
    half = Z * np.asarray(g.std(ddof=1)) / np.sqrt(len(g))
    size = np.asarray(len(indices))
    reason = first_reason((size == 0, RateReason.no_gold), (size < LEAST_GOLD, RateReason.little_gold))
    return fault_rate(value, value - half, value + half, reason, margin)


def _checked_probabilities(scores: ArrayLike) -> FloatArray:
    f = np.asarray(scores, np.float64)
    if f.ndim != 1 or not f.size or not np.all((f >= 0.0) & (f <= 1.0)):
        raise ValueError(f"scores must be probabilities between 0 and 1 of shape (N,), not of {f.shape}")
    return f
