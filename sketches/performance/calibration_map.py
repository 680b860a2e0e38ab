"""Calibration map: probability of the positive class in each bin, learned from labelled reference windows.

Traffic moves to scores for which the reference has few rows or none, so neither the bins' own rates nor isotonic
regression alone are adequate: the former are noise there, the latter is constant beyond the last row. The map is a
logistic line in the score's log-odds x plus a slowly changing departure:

    log-odds p(x) = a + b x + δ(x),   δ a random walk in x whose variance per unit is 1/λ

If scores are calibrated up to a logistic line (calibrated scores: a = 0, b = 1), the likelihood chooses a large λ and
the line extrapolates: learned from 100,000 rows, estimates for traffic three standard deviations away are off by 0.001
in accuracy and 0.003 in AUC (root mean square). If not, λ is small, the map follows the rows where there are any, and
its covariance grows with the distance from them. Rates need not rise with the score: scores with few distinct values,
such as the leaves of a tree, often rank rows badly, and a map that is made monotonic promises more than labels show.

An independent departure per bin instead of a walk, which is common, leaves errors of 0.006 on a bent curve without any
shift; a walk of the slope, which is a smoothing spline, diverges beyond the rows.

Sources: the line: Platt (1999); the walk and its λ by marginal likelihood (Laplace): Rue and Held (2005), Gaussian
Markov Random Fields.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit, logit

from barograph_server.sketches.performance.auc import class_rows
from barograph_server.sketches.performance.bins import REACH, labelled, mean_scores
from barograph_server.sketches.performance.metric import ENOUGH

FloatArray = NDArray[np.float64]

_STIFFNESS = 10.0 ** np.arange(6.0, -1.25, -0.5)
"""Values of λ in the order of trial, from a line to a curve that follows a hundred rows per bin."""
_STEPS = 200
_CLOSE = 1e-6
"""Largest last Newton step, in log-odds: the next step would be its square."""
_NARROW = 0.01
"""Smallest distance of neighboring mean scores, in log-odds; keeps the equations well-conditioned."""


@dataclass(frozen=True, slots=True)
class CalibrationMap:
    """Probability of the positive class in each bin, with its uncertainty."""

    edges: FloatArray
    """Shape (n_bins − 1,)."""
    rate: FloatArray
    """Probability of the positive class, shape (n_bins,)."""
    covariance: FloatArray
    """Covariance of the rates' log-odds, shape (n_bins, n_bins)."""


def learn_calibration(hist: ArrayLike, edges: ArrayLike) -> CalibrationMap:
    """Learn the map from labelled reference windows; takes some milliseconds.

    Args:
        hist: labelled rows, shape (..., n_bins, 3); all windows are added up.

    Raises:
        ValueError: if shapes do not fit, or there are fewer than 20 rows of either class.
    """
    inner = np.asarray(edges, np.float64)
    rows = labelled(hist, inner)
    rows = rows.reshape(-1, *rows.shape[-2:]).sum(axis=0)
    fewest = class_rows(rows).min()
    if not fewest >= ENOUGH:
        raise ValueError(f"a calibration needs at least {ENOUGH:.0f} labelled rows of each class, not {fewest:.0f}")
    n, positives = rows[:, 0], rows[:, 2]
    reach = REACH + 1.0
    odds = logit(np.clip(mean_scores(n, rows[:, 1], inner), expit(-reach), expit(reach)))
    width = np.maximum(np.diff(odds), _NARROW)
    best = _Fit(odds, 1.0, -np.inf, np.zeros((odds.size, odds.size)))
    start, slope = odds, 1.0
    for stiffness in _STIFFNESS:
        fit = _fit(start, slope, stiffness, width, n, positives)
        start, slope = fit.odds, fit.slope
        if fit.likelihood > best.likelihood:
            best = fit
    return CalibrationMap(inner, expit(best.odds), best.covariance)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Maximum-likelihood line and departure for one λ."""

    odds: FloatArray
    """Log-odds f of each bin."""
    slope: float
    """Slope b, with a prior of mean 1 and variance 1."""
    likelihood: float
    """Logarithm of the marginal likelihood of λ, up to a constant."""
    covariance: FloatArray


def _fit(
    odds: FloatArray, slope: float, stiffness: float, width: FloatArray, n: FloatArray, positives: FloatArray
) -> _Fit:
    """Maximize by Newton's method the likelihood of f and b less λ/2 Σ (Δf − b Δx)²/Δx and (b − 1)²/2.

    The second derivatives are tridiagonal in f. b is one more row and column, with λ at the first bin, −λ at the last
    and 1 + λ Σ Δx in the corner.
    """
    from scipy.linalg import cho_solve_banded, cholesky_banded

    border = np.zeros(odds.size)
    border[0], border[-1] = stiffness, -stiffness
    corner = 1.0 + stiffness * float(width.sum())
    bands = np.zeros((2, odds.size))
    bands[1, :-1] = -stiffness / width
    ties = np.zeros(odds.size)
    ties[:-1] += stiffness / width
    ties[1:] += stiffness / width
    for _ in range(_STEPS):
        rate = expit(odds)
        bands[0] = ties + n * rate * (1.0 - rate)
        factor = (cholesky_banded(bands, lower=True), True)
        departure = np.diff(odds) / width - slope
        ascent = positives - n * rate - stiffness * np.diff(-departure, prepend=0.0, append=0.0)
        ascent_slope = 1.0 - slope + stiffness * float((departure * width).sum())
        leaning = cho_solve_banded(factor, border)
        rest = corner - float(border @ leaning)
        step_slope = (ascent_slope - float(leaning @ ascent)) / rest
        step = cho_solve_banded(factor, ascent) - leaning * step_slope
        longest = max(float(np.abs(step).max()), abs(step_slope))
        # Newton may overshoot from a poor start; a step of at most one unit cannot.
        odds = odds + step / max(1.0, longest)
        slope = slope + step_slope / max(1.0, longest)
        if longest < _CLOSE:
            break
    departure = np.diff(odds) / width - slope
    fit = float((positives * log_expit(odds) + (n - positives) * log_expit(-odds)).sum())
    prior = stiffness * float((departure**2 * width).sum()) + (slope - 1.0) ** 2
    determinant = 2.0 * float(np.log(factor[0][0]).sum()) + np.log(rest)
    likelihood = fit + (width.size * np.log(stiffness) - prior - determinant) / 2.0
    inverse = cho_solve_banded(factor, np.eye(odds.size))
    return _Fit(odds, slope, float(likelihood), inverse + np.outer(leaning, leaning) / rest)
