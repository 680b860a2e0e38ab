"""When the distribution of a field changed: the most likely pane, and a 95 % confidence interval.

The model has one change: the panes before it share one distribution over the cells, and the panes from it on another.
`LL(τ)` is the largest log likelihood of a change at the start of pane τ. The interval holds every τ with
`2 · (max LL − LL(τ)) / φ ≤ κ`. κ solves `(1 − e^(−κ/2))² = 0.95` (Eo and Morley, "Likelihood-ratio-based confidence
sets for the timing of structural breaks", Quantitative Economics 6, 2015, 463-497).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
KAPPA = -2.0 * math.log(1.0 - math.sqrt(CONFIDENCE))
"""About 7.35."""
P_CHANGE = 1e-3
"""A change is reported if the likelihood ratio exceeds its χ² quantile at this p, divided by the number of panes."""


@dataclass(frozen=True, slots=True)
class Onset:
    """The start of the first pane with the new distribution, as indexes of panes."""

    pane: int
    low: int
    """The earliest pane in the interval."""
    high: int
    """The latest pane in the interval."""


def estimate_onset(counts: NDArray[np.int64], phi: float = 1.0) -> Onset | None:
    """Estimate when the distribution changed; None if the panes are compatible with one distribution.

    Args:
        counts: events per pane and cell, shape (panes, cells), in order of time. Empty panes are allowed.
        phi: overdispersion of the events, at least 1; it divides the likelihood ratio.
    """
    if len(counts) < 2 or counts.sum() == 0:
        return None
    # Cells that no event has add nothing, not even degrees of freedom.
    occupied = counts[:, counts.sum(axis=0) > 0].astype(float)
    before = occupied.cumsum(axis=0)[:-1]
    after = occupied.sum(axis=0) - before
    ratio = 2.0 / max(1.0, phi) * (_log_likelihood(before) + _log_likelihood(after))
    constant = 2.0 / max(1.0, phi) * float(_log_likelihood(occupied.sum(axis=0)[None, :])[0])
    best = int(ratio.argmax())
    if ratio[best] - constant <= _threshold(occupied.shape[1] - 1, len(ratio)):
        return None
    in_interval = np.flatnonzero(ratio[best] - ratio <= KAPPA) + 1
    return Onset(best + 1, int(in_interval[0]), int(in_interval[-1]))


def _log_likelihood(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest multinomial log likelihood of each row, without the constant term."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.ones_like(counts), where=counts > 0)
    return np.asarray((counts * np.log(shares)).sum(axis=1), dtype=np.float64)


def _threshold(degrees: int, candidates: int) -> float:
    # Imported on use: it takes a third of a second, and most commands judge nothing.
    from scipy.stats import chi2

    return float(chi2.isf(P_CHANGE / candidates, max(1, degrees)))
