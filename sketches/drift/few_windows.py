"""What few windows of training tell of φ: its upper limit, p, and how often a verdict is `major` without drift.

φ̂ of k windows is their 0.85-quantile of T, nearly, over that of χ². For windows that are independent of each other the
quantile is F⁻¹(U), with U of the Beta distribution of that order statistic. If φ̂ is above 1, T varies in one direction
only in the worst case, so that F is the distribution of χ²₁, whatever the degrees of freedom by which φ̂ was divided.
"""

import numpy as np
from barograph.contract import PhiChoice, Thresholds
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, chdtri, erfc

from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.drift.overdispersion import CHANCE, QUANTILES, ROUGH_WINDOWS, SURE_WINDOWS
from barograph_server.sketches.drift.psi import PsiVerdicts
from barograph_server.sketches.drift.rates import Z

FloatArray = NDArray[np.float64]

CONFIDENCE = 0.95
_POINTS = (np.arange(16) + 0.5) / 16
_UPPER = QUANTILES[-1]


def phi_of_verdicts(bins: PsiBins, window: str, choice: PhiChoice) -> FloatArray:
    """Return the φ of each group's verdicts at one window length, (G,)."""
    df = np.minimum(bins.nu(window), np.maximum(bins.sizes - 1, 1))
    return chosen_phi(bins.phi(window), bins.training_windows(window), df, choice)


def chosen_phi(phi: ArrayLike, windows: ArrayLike, df: ArrayLike, choice: PhiChoice) -> FloatArray:
    """Return φ̂, or its upper 95 % limit; an unknown φ, and that of a shorter length, have no limit.

    Args:
        windows: number of windows from which φ̂ was learned.
        df: degrees of freedom of T, at least 1.
    """
    estimate = np.asarray(phi, np.float64)
    if choice == "estimate":
        return estimate
    directions = np.where(_is_rough(estimate, windows, df), 1.0, df)
    upper = estimate * upper_factor(np.maximum(windows, ROUGH_WINDOWS), directions)
    return np.where(np.asarray(windows) >= ROUGH_WINDOWS, upper, estimate)


def false_major_share(
    verdicts: PsiVerdicts, bins: PsiBins, window: str, phi: FloatArray, thresholds: Thresholds
) -> FloatArray:
    """Return the share of windows without drift that would be `major`, at most, for each window, (W, G).

    0 unless φ is above 1 and was learned from few windows of this length, `ROUGH_WINDOWS` or more.

    Args:
        phi: φ of the verdicts, (G,).
    """
    share = np.zeros(verdicts.psi.shape)
    rough = _rough(bins, window)
    n_h, df = verdicts.n_h[:, rough], verdicts.df[:, rough]
    # √T of χ²_df(λ) is nearly normal around √(λ + (df − 1)/2) with variance 1.
    of_interval = (np.sqrt(thresholds.minor * n_h + (df - 1.0) / 2.0) + Z) ** 2
    t = np.where(verdicts.enough[:, rough], 0.0, of_interval)
    t = np.maximum(t, thresholds.major * n_h) * (phi / bins.phi(window))[rough]
    share[:, rough] = exceeding_share(t, bins.training_windows(window)[rough], df)
    return share


def p_values(verdicts: PsiVerdicts, bins: PsiBins, window: str, phi: FloatArray) -> FloatArray:
    """Return p of the hypothesis of no drift, (W, G); of few windows, with what they leave open about φ.

    Args:
        phi: φ of the verdicts, (G,).
    """
    rough = _rough(bins, window)
    if not len(rough):
        return verdicts.p_value
    p = verdicts.p_value.copy()
    t = verdicts.n_h[:, rough] * verdicts.psi[:, rough] * (phi / bins.phi(window))[rough]
    p[:, rough] = exceeding_share(t, bins.training_windows(window)[rough], verdicts.df[:, rough])
    return p


def _rough(bins: PsiBins, window: str) -> IntArray:
    df = np.maximum(bins.sizes - 1, 1)
    return np.flatnonzero(_is_rough(bins.phi(window), bins.training_windows(window), df))


def _is_rough(phi: ArrayLike, windows: ArrayLike, df: ArrayLike) -> NDArray[np.bool_]:
    """Whether φ̂ comes from few windows and is above 1 by more than chance."""
    k = np.asarray(windows, np.float64)
    chance = 1.0 + CHANCE * np.sqrt(2.0 / (np.asarray(df, np.float64) * np.maximum(k, 1.0)))
    return np.asarray((k >= ROUGH_WINDOWS) & (k < SURE_WINDOWS) & (np.asarray(phi) > chance), np.bool_)


def upper_factor(windows: ArrayLike, df: ArrayLike) -> FloatArray:
    """Return the upper 95 % limit of φ, divided by φ̂.

    Args:
        windows: number of windows from which φ̂ was learned, at least 2.
        df: degrees of freedom of T.
    """
    nu = np.asarray(df, np.float64)
    least = chdtri(nu, 1.0 - betaincinv(*_order(np.asarray(windows, np.float64)), 1.0 - CONFIDENCE))
    return np.asarray(chdtri(nu, 1.0 - _UPPER) / least, np.float64)


def exceeding_share(t: ArrayLike, windows: ArrayLike, df: ArrayLike) -> FloatArray:
    """Return the share of windows without drift whose T/φ̂ exceeds a value, in the worst case.

    Args:
        windows: number of windows from which φ̂ was learned, at least 2.
        df: degrees of freedom at which φ̂ was learned.
    """
    scaled = np.asarray(t, np.float64) / chdtri(np.asarray(df, np.float64), 1.0 - _UPPER)
    counts, of_group = np.unique(np.asarray(windows, np.float64), return_inverse=True)
    quantiles = chdtri(1.0, 1.0 - betaincinv(*_order(counts[:, None]), _POINTS))
    drawn = quantiles[of_group.reshape(np.shape(windows))]
    # χ²₁ exceeds x with probability erfc(√(x/2)), which costs a fiftieth of the general χ².
    return np.asarray(erfc(np.sqrt(0.5 * scaled[..., None] * drawn)).mean(axis=-1), np.float64)


def _order(k: FloatArray) -> tuple[FloatArray, FloatArray]:
    return _UPPER * (k - 1.0) + 1.0, (1.0 - _UPPER) * (k - 1.0) + 1.0
