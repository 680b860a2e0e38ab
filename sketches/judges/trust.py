"""How far the scores of an evaluator separate sound from faulty answers, by the labels of people.

The statistic is AUROC: the share of pairs of a sound and a faulty answer in which the sound one has the higher score,
ties counting half. 0.5 is chance. Its interval is that of `sketches.performance.auc`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from barograph_server.sketches.performance.auc import auc_metric, class_rows
from barograph_server.sketches.performance.metric import ENOUGH

LEAST_LABELS = int(ENOUGH)
"""Fewest labels `faulty`, and fewest labels `sound`, for a trusted evaluator: the interval needs them."""
CHANCE = 0.5
FEW_LABELS = f"fewer than {LEAST_LABELS} labels faulty or sound"
NO_BETTER, WORSE = "no better than chance", "worse than chance"
"""Reasons of an interval that contains 0.5, and of one below it."""


@dataclass(frozen=True, slots=True)
class ScoreTrust:
    """AUROC of an evaluator with its 95 % interval, and whether the evaluator is trusted."""

    faulty: int
    """Labels of faulty answers that count."""
    sound: int
    auroc: float
    """NaN, as its interval, without a label of either class."""
    low: float
    high: float
    reason: str
    """Why the evaluator is not trusted; empty if it is."""


def score_trust(scores: ArrayLike, is_sound: ArrayLike) -> ScoreTrust:
    """Measure how far scores separate labelled answers.

    Args:
        scores: of n labelled answers; a higher score means a better answer.
        is_sound: whether people call each answer sound, shape (n,).

    Raises:
        ValueError: a score is NaN, or the shapes differ.
    """
    values, sound = np.asarray(scores, np.float64), np.asarray(is_sound, np.bool_)
    if values.shape != sound.shape or values.ndim != 1 or np.isnan(values).any():
        raise ValueError("scores need one label each, and must be numbers")
    distinct, bins = np.unique(values, return_inverse=True)
    # Each score has a bin of its own, with an empty one between two: only equal scores are ties.
    n_bins = max(distinct.size, 1)
    hist = np.zeros((2 * n_bins, 3))
    hist[::2, 0] = np.bincount(bins, minlength=n_bins)
    hist[::2, 2] = np.bincount(bins[sound], minlength=n_bins)
    metric = auc_metric(hist)
    n_sound, n_faulty = (int(n) for n in class_rows(hist))
    auroc, low, high = float(metric.value), float(metric.low), float(metric.high)
    return ScoreTrust(n_faulty, n_sound, auroc, low, high, _reason(n_faulty, n_sound, low, high))


def _reason(n_faulty: int, n_sound: int, low: float, high: float) -> str:
    if n_faulty < LEAST_LABELS or n_sound < LEAST_LABELS:
        return FEW_LABELS
    if low <= CHANCE <= high:
        return NO_BETTER
    return WORSE if high < CHANCE else ""
