"""Agreement of several reviewers about categories: Krippendorff's nominal alpha, with missing labels.

With n_uc labels c of item u, m_u = Σ_c n_uc ≥ 2 and t = Σ m_u,

    observed pairs in agreement  A = Σ_u Σ_c n_uc (n_uc − 1)/(m_u − 1),
    alpha = 1 − (t − 1) (t − A)/(t² − Σ_c (Σ_u n_uc)²).

1 is perfect agreement, 0 what labels at random would give, and a negative alpha systematic disagreement. Items with
less than two labels do not count. The interval is the jackknife's over items, with Student's t and ends of at most
1. In simulations with 2 or 3 reviewers, 30 to 300 items and 2 or 3 categories, about 5 % of the samples have an
interval that misses the true alpha. With less than 20 items of disagreement, and a rare category, it would be up to
16 %.

Source: Krippendorff (2011), Computing Krippendorff's Alpha-Reliability; jackknife: Efron and Stein (1981), Annals of
Statistics 9, 586–596.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from barograph_server.sketches.drift.rates import CONFIDENCE

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MISSING = -1
"""Code of a label that a reviewer did not give."""
LEAST_ITEMS = 20
"""Fewest items with a disagreement, and fewest without one, for an interval; with fewer it covers too little."""


@dataclass(frozen=True, slots=True)
class Agreement:
    alpha: float
    """Krippendorff's nominal alpha; NaN if no item has two labels, or all labels are the same."""
    low: float
    """Lower end of the 95 % interval; NaN with less than 20 items with a disagreement, or less than 20 without."""
    high: float
    items: int
    """Items with at least two labels."""
    disagreements: IntArray
    """Indices of the items whose labels differ, shape (d,); the least agreement first, then by index."""


def agreement(codes: ArrayLike, least_items: tuple[int, int] = (LEAST_ITEMS, LEAST_ITEMS)) -> Agreement:
    """Return the agreement of reviewers.

    Args:
        codes: category of each label, whole numbers from 0 on, or −1 if the reviewer gave none; shape
            (reviewers, items). The numbers have no order.
        least_items: fewest items with a disagreement, and fewest without one, for an interval.

    Raises:
        ValueError: the shape is another, or a code is neither −1 nor a whole number from 0 on.
    """
    counts = _category_counts(codes)
    labels = counts.sum(axis=1)
    is_pairable = labels >= 2
    n, m = counts[is_pairable].astype(np.float64), labels[is_pairable].astype(np.float64)
    agreeing = (n * (n - 1.0)).sum(axis=1) / (m - 1.0)
    alpha = float(_alpha(m.sum(), agreeing.sum(), (n.sum(axis=0) ** 2).sum()))
    is_split = agreeing < m - 1e-9
    low = high = np.nan
    if np.count_nonzero(is_split) >= least_items[0] and np.count_nonzero(~is_split) >= least_items[1]:
        without = _alpha(m.sum() - m, agreeing.sum() - agreeing, ((n.sum(axis=0) - n) ** 2).sum(axis=1))
        items = len(m)
        half = stdtrit(items - 1, 0.5 + CONFIDENCE / 2) * np.sqrt(
            (items - 1) / items * ((without - without.mean()) ** 2).sum()
        )
        low, high = alpha - float(half), min(alpha + float(half), 1.0)
    indices = np.flatnonzero(is_pairable)[is_split]
    order = np.argsort(agreeing[is_split] / m[is_split], kind="stable")
    return Agreement(alpha, low, high, len(m), indices[order])


def _category_counts(codes: ArrayLike) -> IntArray:
    """Return the labels of each item in each category, shape (items, categories)."""
    numbers = np.asarray(codes)
    if numbers.ndim != 2:
        raise ValueError(f"codes must have the shape (reviewers, items), not {numbers.shape}")
    if not np.issubdtype(numbers.dtype, np.integer) or np.any(numbers < MISSING):
        raise ValueError(f"codes must be whole numbers from 0 on, or {MISSING} where a reviewer gave no label")
    categories, index = np.unique(numbers, return_inverse=True)
    index = index.reshape(numbers.shape)
    counts = np.zeros((numbers.shape[1], len(categories)), np.int64)
    for reviewer in index:
        counts[np.arange(len(reviewer)), reviewer] += 1
    return counts[:, categories != MISSING]


def _alpha(labels: ArrayLike, agreeing: ArrayLike, squares: ArrayLike) -> FloatArray:
    """Return alpha from t, A and Σ_c (Σ_u n_uc)²; NaN if all labels are the same."""
    t = np.asarray(labels, np.float64)
    chance = t * t - np.asarray(squares)
    return np.asarray(1.0 - (t - 1.0) * (t - np.asarray(agreeing)) / np.where(chance > 0.0, chance, np.nan))
