"""Wins and losses of a candidate over independent pairs: anytime-valid tests and intervals.

A win is a pair in which only the candidate is right, a loss one in which only the primary is right, a tie any other.

Each pair must be an independent unit. Requests of a day are not: with weather or a deployment in common, false alarms
reach 100 % within months. Real traffic is judged by days (`sketches.rollout.day_interval`).

The test of p = ½ ignores ties. It is the test of the ratio of arms (`sketches.comparison.sample_ratio`) with wins and
losses as arms, so p = `anytime_p([wins, losses], [0.5, 0.5])`, least over the looks.

Sources: the interval of the share: Robbins (1970), Annals of Mathematical Statistics 41, 1397–1409; Howard, Ramdas,
McAuliffe and Sekhon (2021), arXiv 1810.08240.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaln, gammaln, logsumexp, xlog1py, xlogy

from barograph_server.sketches.comparison.sample_ratio import CONCENTRATIONS, log_evidence_terms

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_HALF = np.array([0.5, 0.5])
_BISECTIONS = 60


def log_evidence(wins: ArrayLike, losses: ArrayLike) -> FloatArray:
    """Return ln E against p = ½, of the shape that the counts broadcast to.

    E = mean over a ∈ {5, 50, 500, 5,000} of 2^(b + c) B(a + b, a + c)/B(a, a) for b wins and c losses. The error of the
    logarithm is 10⁻¹⁰ for 10⁵ pairs and 10⁻⁸ for 10⁸, from differences of ln Γ.

    Raises:
        ValueError: if a count is negative.
    """
    return _log_mean(_terms(wins, losses)[0])


def log_evidence_better(wins: ArrayLike, losses: ArrayLike) -> FloatArray:
    """Return ln E against p ≤ ½, that is, for a better candidate; swap the counts for a worse one.

    Each term of E is multiplied by 2 I_½(a + c, a + b): its mixture is cut to p > ½.

    Raises:
        ValueError: if a count is negative.
    """
    terms, b, c = _terms(wins, losses)
    a = CONCENTRATIONS / 2.0
    with np.errstate(divide="ignore"):
        return _log_mean(terms + np.log(2.0 * betainc(a + c[..., None], a + b[..., None], 0.5)))


def share_interval(wins: ArrayLike, losses: ArrayLike, alpha: float = 0.05) -> tuple[FloatArray, FloatArray]:
    """Return the confidence sequence of the share of wins among wins and losses; [0, 1] without any.

    It contains p if B(½ + b, ½ + c)/B(½, ½) < p^b (1 − p)^c / α.

    Raises:
        ValueError: a count is negative, or α is not between 0 and 1.
    """
    b, c = _checked(alpha, wins, losses)
    log_mixture = betaln(0.5 + b, 0.5 + c) - betaln(0.5, 0.5)
    total = b + c
    mode = np.where(total > 0.0, b / np.where(total > 0.0, total, 1.0), 0.5)

    def contains(p: FloatArray) -> BoolArray:
        return np.asarray(log_mixture - xlogy(b, p) - xlog1py(c, -p) < -np.log(alpha), np.bool_)

    return _ends(contains, mode, 0.0, 1.0)


def log_evidence_of_difference(
    wins: ArrayLike, ties: ArrayLike, losses: ArrayLike, difference: ArrayLike
) -> FloatArray:
    """Return ln E against the difference δ of the shares of wins and losses among all pairs, ties included.

    E is the likelihood of the three counts under a Dirichlet(½, ½, ½) mixture, divided by their largest likelihood
    among distributions with this difference.

    Args:
        wins: counts; all arguments broadcast.
        difference: δ in [−1, 1].

    Raises:
        ValueError: a count is negative, or a difference is outside [−1, 1].
    """
    b, t, c, delta = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in (wins, ties, losses, difference)))
    b, t, c = _checked(0.5, b, t, c)
    if not np.all(np.abs(delta) <= 1.0):
        raise ValueError("a difference of shares must lie between −1 and 1")
    return _log_mixture(b, t, c) - _profile(b, t, c, delta)


def difference_interval(
    wins: ArrayLike, ties: ArrayLike, losses: ArrayLike, alpha: float = 0.05
) -> tuple[FloatArray, FloatArray]:
    """Return the confidence sequence of the difference of the shares of wins and losses; [−1, 1] without pairs.

    Raises:
        ValueError: a count is negative, or α is not between 0 and 1.
    """
    b, t, c = _checked(alpha, wins, ties, losses)
    log_mixture = _log_mixture(b, t, c)
    n = b + t + c
    mode = (b - c) / np.where(n > 0.0, n, 1.0)

    def contains(delta: FloatArray) -> BoolArray:
        return np.asarray(log_mixture - _profile(b, t, c, delta) < -np.log(alpha), np.bool_)

    return _ends(contains, mode, -1.0, 1.0)


def _terms(wins: ArrayLike, losses: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    b, c = np.broadcast_arrays(np.asarray(wins, np.float64), np.asarray(losses, np.float64))
    return log_evidence_terms(np.stack((b, c), axis=-1), _HALF), b, c


def _log_mean(terms: FloatArray) -> FloatArray:
    return np.asarray(logsumexp(terms, axis=-1) - np.log(terms.shape[-1]), np.float64)


def _log_mixture(b: FloatArray, t: FloatArray, c: FloatArray) -> FloatArray:
    counts = sum(gammaln(0.5 + each) - gammaln(0.5) for each in (b, t, c))
    return np.asarray(gammaln(1.5) - gammaln(1.5 + b + t + c) + counts, np.float64)


def _profile(b: FloatArray, t: FloatArray, c: FloatArray, delta: FloatArray) -> FloatArray:
    """Return the largest log-likelihood with this difference, over the share s of wins and losses together.

    s is the larger root of −n s² + (b + c + δ(b − c)) s + δ²t − δ(b − c) = 0, kept in [|δ|, 1]: if a count is 0,
    rounding can place it outside.
    """
    n = b + t + c
    linear = b + c + delta * (b - c)
    constant = delta * delta * t - delta * (b - c)
    root = np.sqrt(np.maximum(linear * linear + 4.0 * n * constant, 0.0))
    s = np.clip((linear + root) / (2.0 * np.where(n > 0.0, n, 1.0)), np.abs(delta), 1.0)
    return np.asarray(xlogy(b, (s + delta) / 2.0) + xlogy(c, (s - delta) / 2.0) + xlogy(t, 1.0 - s), np.float64)


def _ends(
    contains: Callable[[FloatArray], BoolArray], mode: FloatArray, low: float, high: float
) -> tuple[FloatArray, FloatArray]:
    """Return the ends of an interval that contains `mode`, by bisection; an end that it contains is exact."""
    ends = []
    for limit in (low, high):
        outside, inside = np.full(mode.shape, limit), mode
        reaches = contains(outside)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (inside + outside)
            is_inside = contains(middle)
            inside, outside = np.where(is_inside, middle, inside), np.where(is_inside, outside, middle)
        ends.append(np.where(reaches, limit, inside))
    return ends[0], ends[1]


def _checked(alpha: float, *counts: ArrayLike) -> list[FloatArray]:
    arrays = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in counts))
    if not all(np.all(each >= 0.0) for each in arrays):
        raise ValueError("a count of pairs is negative")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"α must lie between 0 and 1, not at {alpha}")
    return list(arrays)
