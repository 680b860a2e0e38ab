"""Statistical power: the amount of data that a level needs, and the smallest shift that a window detects."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, chndtr, chndtrinc, ndtr, ndtri

from barograph_server.sketches.drift.noncentral import DF_STEPS, by_df, by_key, df_key

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FALSE_MAJOR = 0.025
"""Probability that a true PSI at the minor threshold is called `major` once there is enough data."""
VISIBLE_ALPHA = 0.001
VISIBLE_POWER = 0.8
_SHARE_FLOOR = 1e-4
"""Floor of a bin's share in PSI (see `sketches.drift.psi`): it bounds the PSI of the largest shift."""
_SHIFTS_SD = np.linspace(0.0, 8.0, 801)
_CELLS = 512


def n_star(df: ArrayLike, minor: ArrayLike = 0.1, major: ArrayLike = 0.2) -> FloatArray:
    """Return the n_h/φ from which a window's level follows from the user's thresholds alone.

    It solves P[χ²_df(λ = minor·n) > major·n] = 0.025: a true PSI at the minor threshold is then called `major` 2.5 % of
    the time. All shapes that broadcast are allowed; each distinct (df, minor, major) costs 0.1 ms once per process.

    Args:
        df: degrees of freedom, at least 1.
        minor: thresholds of `minor`, at least 0.
        major: thresholds of `major`, above `minor`.

    Raises:
        ValueError: if a minor threshold is negative or not below its major threshold.
    """
    minors, majors = np.broadcast_arrays(np.asarray(minor, np.float64), np.asarray(major, np.float64))
    if not np.all((minors >= 0.0) & (minors < majors)):
        raise ValueError("the minor threshold of a PSI must be at least 0 and below its major threshold")
    pairs, pair = np.unique(minors + 1j * majors, return_inverse=True)
    key = df_key(df) * len(pairs) + pair.reshape(minors.shape)

    def solve(keys: IntArray) -> FloatArray:
        thresholds = pairs[keys % len(pairs)]
        return np.array(
            [
                _n_star(*args)
                for args in zip((keys // len(pairs) / DF_STEPS).tolist(), thresholds.real, thresholds.imag, strict=True)
            ]
        )

    return by_key(key, solve)


@lru_cache(maxsize=65_536)
def _n_star(df: float, minor: float, major: float) -> float:
    # Imported on use: it takes a third of a second, and most commands judge nothing.
    from scipy.optimize import brentq

    def excess(n: float) -> float:
        return float(1.0 - FALSE_MAJOR - chndtr(major * n, df, minor * n))

    upper = 1.0
    while excess(upper) > 0.0:
        upper *= 2.0
    return float(brentq(excess, 0.0, upper, xtol=1e-9, rtol=1e-13))


def visible_shift(df: IntArray, n_h: FloatArray, nu: FloatArray | None = None) -> FloatArray:
    """Return the smallest shift of the mean, in standard deviations, that is detected with 80 % power at α = 0.001.

    It holds for a normal field with df + 1 bins of equal share: an order of magnitude, not a promise about fields of
    another shape. It is interpolated from a table with a relative error of at most 10⁻⁴.

    Args:
        df: degrees of freedom of the bins, at least 1, any shape.
        n_h: effective sample size nm/(n + m)/φ, same shape.
        nu: degrees of freedom of T, same shape; None: those of the bins.

    Returns:
        The shift, same shape; infinite if even the largest shift would go undetected, as with n_h = 0.
    """
    largest = by_df(df, lambda distinct: np.array([_curve(int(d))[0] for d in distinct]))
    needed = by_df(df if nu is None else nu, _detectable) / largest
    # The tables are over √(detectable PSI ÷ largest PSI that a shift can cause), in [0, 1].
    with np.errstate(divide="ignore"):
        position = np.sqrt(needed / n_h) * _CELLS
    undetected = ~(position < _CELLS)
    position = np.where(undetected, 0.0, position)
    cell = position.astype(np.int64)
    u = position - cell
    distinct = np.flatnonzero(np.bincount(df.ravel(), minlength=1))
    slot = np.zeros(int(df.max(initial=0)) + 1, np.int64)
    slot[distinct] = np.arange(len(distinct))
    tables = np.array([_curve(int(d))[1] for d in distinct]).reshape(-1)
    at = slot[df] * (_CELLS + 1) + cell
    shift = tables[at] * (1.0 - u) + tables[at + 1] * u
    return np.where(undetected, np.inf, shift)


@lru_cache(maxsize=4_096)
def _curve(df: int) -> tuple[float, FloatArray]:
    """Return the largest PSI of a shift, and the shifts at equal steps 0 … 1 of √(PSI ÷ that largest)."""
    bins = df + 1
    share = 1.0 / bins
    edges = ndtri(np.arange(bins + 1) / bins)
    q = np.maximum(np.diff(ndtr(edges[None, :] - _SHIFTS_SD[:, None]), axis=1), _SHARE_FLOOR)
    psi = ((q - share) * np.log(q / share)).sum(axis=1)
    psi[0] = 0.0
    rising = int(np.argmax(psi)) + 1
    root = np.sqrt(psi[:rising] / psi[rising - 1])
    shifts = np.interp(np.linspace(0.0, 1.0, _CELLS + 1), root, _SHIFTS_SD[:rising])
    return float(psi[rising - 1]), shifts


def _detectable(df: FloatArray) -> FloatArray:
    """Return the λ that is detected."""
    return np.array([_detectable_lambda(each) for each in df.tolist()])


@lru_cache(maxsize=4_096)
def _detectable_lambda(df: float) -> float:
    return float(chndtrinc(chdtri(df, VISIBLE_ALPHA), df, 1.0 - VISIBLE_POWER))
