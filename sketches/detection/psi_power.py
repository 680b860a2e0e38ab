"""Probability that the PSI of a window exceeds a threshold, by the share of the window that a change fills.

A change that began s seconds ago fills the share f = min(1, s/L) of a window of L seconds. Its true PSI is that of the
mixture (1 − f)p + fq of the shares p before and q after the change, on the frozen bins. With n′ = n_h/φ, T = n′·PSI
follows χ²_df(λ = n′·PSI(f)) (`sketches.drift.psi`), so that a verdict exceeds the threshold ℓ with probability

    P(f) = 1 − F(n′ℓ; df, λ = n′·PSI(f)).

ℓ is the threshold of `major` if n′ reaches n*(df), else the PSI whose interval lies above the threshold of `minor`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chndtr, chndtrix

from sketches.drift.power import n_star
from sketches.drift.psi import SHARE_FLOOR

FloatArray = NDArray[np.float64]

_HIGH_POINT = 0.975
"""The lower end of an interval is the λ whose 97.5 % point is the observed T."""


def mixed_psi(before: ArrayLike, after: ArrayLike, share: float) -> float:
    """Return the PSI of the mixture of a field's shares before and after a change.

    Args:
        before: shares of the bins before the change, (B,), of sum 1.
        after: shares of the same bins after it, (B,), of sum 1.
        share: share f of the events that come after the change, from 0 to 1.

    Raises:
        ValueError: if shapes differ, or the share does not lie in [0, 1].
    """
    p, q = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if p.shape != q.shape or p.ndim != 1:
        raise ValueError(f"shares before and after must have one shape (B,), not {p.shape} and {q.shape}")
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"the share of events after a change lies in [0, 1], not at {share}")
    floored = np.maximum(SHARE_FLOOR, p)
    mixed = np.maximum(SHARE_FLOOR, (1.0 - share) * p + share * q)
    return float(((mixed - floored) * np.log(mixed / floored)).sum())


def level_threshold(n_eff: float, df: int, minor: float, major: float) -> float:
    """Return the PSI above which a verdict is `major`.

    Args:
        n_eff: n′ = n_h/φ of the window, above 0.
        df: degrees of freedom, at least 1.
        minor: threshold of `minor`.
        major: threshold of `major`.
    """
    if n_eff >= float(n_star(df, minor, major)):
        return major
    return max(major, interval_threshold(n_eff, df, minor))


def interval_threshold(n_eff: float, df: int, threshold: float) -> float:
    """Return the PSI above which the whole 95 % interval lies above a threshold.

    The interval is that of `sketches.drift.psi`, without its widening for drift in rare bins.
    """
    return float(chndtrix(_HIGH_POINT, df, threshold * n_eff)) / n_eff


def exceedance(psi: ArrayLike, n_eff: float, df: int, threshold: float) -> FloatArray:
    """Return the probability that the observed PSI exceeds a threshold, in the shape of the true PSI.

    Args:
        psi: true PSI, at least 0.
        n_eff: n′ = n_h/φ of the window, above 0.
        df: degrees of freedom, at least 1.
        threshold: PSI.
    """
    true = np.asarray(psi, np.float64)
    below = chndtr(n_eff * threshold, df, n_eff * true)
    return np.clip(1.0 - np.asarray(below, np.float64), 0.0, 1.0)
