"""Fisher's exact test, two-sided, over arrays.

Given its margins, the first count of a 2×2 table follows a hypergeometric distribution; p is the probability of all
counts that are at most as likely as the observed one. The distribution is computed from the ratios of neighbors, from
its mode outward until the terms vanish, without factorials: 0.2 to 10 µs per table, depending on its standard
deviation.

The relative error is below 10⁻⁹ against exact arithmetic. Tables with more than 16,384 counts on either side of the
mode (both samples in the millions, or p = 0 in practice) use the tails of the likelihood instead: within 2 %.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ndtr

FloatArray = NDArray[np.float64]

_TIE = 1.0 + 1e-7
"""Counts as likely as the observed one up to rounding belong to p; rounding would otherwise split exact ties."""
_LONGEST = 16_384
_CHUNK_CELLS = 65_536


def fisher_p(k: ArrayLike, n: ArrayLike, base_k: ArrayLike, base_n: ArrayLike) -> FloatArray:
    """Return the two-sided p of k of n against base_k of base_n; 1 if a margin is empty.

    Args:
        k: whole numbers, 0 ≤ k ≤ n; all arguments have shapes that broadcast.
        n: size of the first sample.
        base_k: 0 ≤ base_k ≤ base_n.
        base_n: size of the second sample.
    """
    arrays = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (k, n, base_k, base_n)))
    hits, rows, base_hits, base_rows = arrays
    both = hits + base_hits
    p = np.ones(both.shape)
    has_margins = (rows > 0.0) & (base_rows > 0.0) & (both > 0.0) & (both < rows + base_rows)
    x, drawn, marked, unmarked = (
        hits[has_margins],
        rows[has_margins],
        both[has_margins],
        (rows + base_rows - both)[has_margins],
    )
    if x.size:
        p[has_margins] = _p(x, drawn, marked, unmarked)
    return p


def _p(x: FloatArray, drawn: FloatArray, marked: FloatArray, unmarked: FloatArray) -> FloatArray:
    """Return p of x marked items among `drawn` from `marked` and `unmarked` ones; one-dimensional."""
    total = marked + unmarked
    mode = np.floor((drawn + 1.0) * (marked + 1.0) / (total + 2.0))
    share = marked / total
    sd = np.sqrt(drawn * share * (1.0 - share) * (total - drawn) / (total - 1.0))
    distance = np.abs(x - mode)
    # By log-concavity, terms beyond 8 sd + 20 past x add less than 10⁻¹² of x's own term. The count on the far side
    # that is as unlikely as x is at most 1.72 times as far from the mode, so twice the distance includes it.
    longest = np.maximum(mode - np.maximum(0.0, drawn - unmarked), np.minimum(drawn, marked) - mode)
    reach = np.minimum(2.0 * distance + np.ceil(8.0 * sd) + 20.0, longest)
    p = np.empty(x.shape)
    too_long = reach > _LONGEST
    p[too_long] = _p_by_likelihood(*(a[too_long] for a in (x, drawn, marked, unmarked, mode)))
    power = np.where(too_long, -1, np.ceil(np.log2(np.maximum(reach, 1.0)))).astype(np.int64)
    for exponent in np.unique(power[~too_long]).tolist():
        steps = int(2**exponent)
        members = np.flatnonzero(power == exponent)
        rows = max(1, _CHUNK_CELLS // steps)
        for start in range(0, len(members), rows):
            chunk = members[start : start + rows]
            p[chunk] = _p_by_summing(*(a[chunk, None] for a in (x, drawn, marked, unmarked, mode)), steps=steps)
    return p


def _p_by_summing(
    x: FloatArray, drawn: FloatArray, marked: FloatArray, unmarked: FloatArray, mode: FloatArray, *, steps: int
) -> FloatArray:
    """Sum likelihoods relative to the mode's, 0 beyond the support; arguments are columns, (rows, 1)."""
    rest = unmarked - drawn
    step = np.arange(steps)
    y = mode + step
    up = np.cumprod((drawn - y) * (marked - y) / ((y + 1.0) * (rest + y + 1.0)), axis=1)
    y = mode - step
    down = np.cumprod(y * (rest + y) / ((drawn - y + 1.0) * (marked - y + 1.0)), axis=1)
    distance = np.abs(x - mode).astype(np.int64)
    before = np.maximum(distance - 1, 0)
    likelihood = np.where(x > mode, np.take_along_axis(up, before, 1), np.take_along_axis(down, before, 1))
    likelihood = np.where(distance == 0, 1.0, likelihood) * _TIE
    at_most = (
        (up * (up <= likelihood)).sum(axis=1) + (down * (down <= likelihood)).sum(axis=1) + (likelihood[:, 0] >= 1.0)
    )
    p: FloatArray = at_most / (up.sum(axis=1) + down.sum(axis=1) + 1.0)
    return p


def _p_by_likelihood(
    x: FloatArray, drawn: FloatArray, marked: FloatArray, unmarked: FloatArray, mode: FloatArray
) -> FloatArray:
    """Sum both tails from the signed root of the likelihood ratio; x's own tail has the continuity correction."""

    def log_likelihood(y: FloatArray) -> FloatArray:
        cells = (y, marked - y, drawn - y, unmarked - drawn + y)
        return -sum((np.asarray(gammaln(cell + 1.0), np.float64) for cell in cells), start=np.zeros(y.shape))

    def tail(y: FloatArray) -> FloatArray:
        return np.asarray(ndtr(-np.sqrt(2.0 * np.maximum(top - log_likelihood(y), 0.0))), np.float64)

    top = log_likelihood(mode)
    inward = np.sign(x - mode) * 0.5
    return np.where(x == mode, 1.0, tail(x) + tail(x - inward))
