"""What a window can tell: how much data settles a level, and the smallest shift that it would have seen."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, chndtr, chndtrinc, ndtr, ndtri

from sketches.drift.noncentral import by_df

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FALSE_MAJOR = 0.025
"""How often a true PSI on the minor line may be called `major` once there is enough data."""
VISIBLE_ALPHA = 0.001
VISIBLE_POWER = 0.8
_SHARE_FLOOR = 1e-4
"""The floor of a bin's share in PSI, see `sketches.drift.psi`: it bounds the PSI of the largest shift."""
_SHIFTS_SD = np.linspace(0.0, 8.0, 801)
_CELLS = 512


def n_star(df: ArrayLike, minor: ArrayLike = 0.1, major: ArrayLike = 0.2) -> FloatArray:
    """The n_h/φ from which a window holds enough data for its level to be the user's line and nothing else.

    It solves P[χ²_df(λ = minor·n) > major·n] = 0.025: a true PSI on the minor line is then called `major` 2.5
    % of the time. Any shapes that broadcast; each distinct (df, minor, major) costs 0.1 ms once per process.

    Args:
        df: degrees of freedom, at least 1.
        minor: lines of `minor`, at least 0.
        major: lines of `major`, above `minor`.

    Raises:
        ValueError: if a line of `minor` is negative or not below its line of `major`.
    """
    minors, majors = np.broadcast_arrays(np.asarray(minor, np.float64), np.asarray(major, np.float64))
    if not np.all((minors >= 0.0) & (minors < majors)):
        raise ValueError("the minor line of a PSI must be at least 0 and below its major line")
    pairs, pair = np.unique(minors + 1j * majors, return_inverse=True)
    key = np.asarray(df, np.int64) * len(pairs) + pair.reshape(minors.shape)

    def solve(keys: IntArray) -> FloatArray:
        lines = pairs[keys % len(pairs)]
        return np.array(
            [_n_star(*args) for args in zip((keys // len(pairs)).tolist(), lines.real, lines.imag, strict=True)]
        )

    return by_df(key, solve)


@lru_cache(maxsize=65_536)
def _n_star(df: int, minor: float, major: float) -> float:
    # Imported where it is needed: it takes a third of a second, and most commands judge nothing.
    from scipy.optimize import brentq

    def excess(n: float) -> float:
        return float(1.0 - FALSE_MAJOR - chndtr(major * n, df, minor * n))

    upper = 1.0
    while excess(upper) > 0.0:
        upper *= 2.0
    return float(brentq(excess, 0.0, upper, xtol=1e-9, rtol=1e-13))


def visible_shift(df: IntArray, n_h: FloatArray) -> FloatArray:
    """The smallest shift of the mean, in standard deviations, seen with 80 % power at α = 0.001.

    It is worked out for a normal field cut into df + 1 bins of equal share: an order of magnitude for a
    reader, not a promise about fields of another shape. Read from a table with a relative error of at most
    10⁻⁴.

    Args:
        df: degrees of freedom, at least 1, any shape.
        n_h: effective sample size nm/(n + m)/φ, same shape.

    Returns:
        The shift, same shape; infinite where even the largest shift would stay unseen, as with n_h = 0.
    """
    needed = by_df(df, lambda wanted: np.array([_curve(int(d))[0] for d in wanted]))
    # the tables run over √(PSI that is seen ÷ the largest PSI that a shift can cause), in [0, 1]
    with np.errstate(divide="ignore"):
        place = np.sqrt(needed / n_h) * _CELLS
    unseen = ~(place < _CELLS)
    place = np.where(unseen, 0.0, place)
    cell = place.astype(np.int64)
    u = place - cell
    distinct = np.flatnonzero(np.bincount(df.ravel(), minlength=1))
    slot = np.zeros(int(df.max(initial=0)) + 1, np.int64)
    slot[distinct] = np.arange(len(distinct))
    tables = np.array([_curve(int(d))[1] for d in distinct]).reshape(-1)
    at = slot[df] * (_CELLS + 1) + cell
    shift = tables[at] * (1.0 - u) + tables[at + 1] * u
    return np.where(unseen, np.inf, shift)


@lru_cache(maxsize=4_096)
def _curve(df: int) -> tuple[float, FloatArray]:
    """λ that is seen ÷ the largest PSI of a shift; shifts at equal steps 0 … 1 of √(PSI ÷ that largest)."""
    bins = df + 1
    share = 1.0 / bins
    edges = ndtri(np.arange(bins + 1) / bins)
    q = np.maximum(np.diff(ndtr(edges[None, :] - _SHIFTS_SD[:, None]), axis=1), _SHARE_FLOOR)
    psi = ((q - share) * np.log(q / share)).sum(axis=1)
    psi[0] = 0.0
    rising = int(np.argmax(psi)) + 1
    root = np.sqrt(psi[:rising] / psi[rising - 1])
    shifts = np.interp(np.linspace(0.0, 1.0, _CELLS + 1), root, _SHIFTS_SD[:rising])
    seen = float(chndtrinc(chdtri(df, VISIBLE_ALPHA), df, 1.0 - VISIBLE_POWER))
    return seen / float(psi[rising - 1]), shifts
