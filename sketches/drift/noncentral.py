"""Inverse of the non-central χ² distribution: the ends λ of a 95 % interval from an observed T.

scipy inverts one value in 50 to 500 µs; a replay needs millions. For one df the inverse is a smooth curve, so it is
tabulated once (2 to 4 ms and 8 KB per df and side, on first use) and interpolated for whole arrays (about 50 ns a
value).

With x = √T and x₀ the start of the curve, the table holds g(w) = (λ − T)/x on w = x₀/x in (0, 1]. Both ends are regular
there: λ is analytic where it leaves zero, and g(0) = −2·Φ⁻¹(probability) is the normal limit, so that T has no upper
bound. 256 cubics per curve keep |error of λ| below 10⁻⁷·max(1, λ) (largest observed for df 1 to 2,000: 1.3·10⁻⁸).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, chndtrinc, ndtr, ndtri

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CELLS = 256
DF_STEPS = 4
"""Degrees of freedom are multiples of 1/4, so that tables have finitely many curves."""
_GAUSS_POINTS = 20
_LARGE = 4.0
"""For T ≥ 4·(df + 10), 20 Gauss points give the distribution function to 10⁻¹²."""
_NEWTON_STEPS = 8


def lambda_low(t: ArrayLike, df: ArrayLike) -> FloatArray:
    """Return the λ at which T is the 97.5 % point of χ²_df(λ): the lower end of a 95 % interval.

    Args:
        t: observed values, at least 0, of any shape.
        df: degrees of freedom, at least 1, in steps of 1/4, broadcast against `t`.

    Returns:
        λ of the broadcast shape; 0 if T lies below the 97.5 % point of the central χ².
    """
    return _LOW(t, df)


def lambda_high(t: ArrayLike, df: ArrayLike) -> FloatArray:
    """Return the λ at which max(T, median of χ²_df) is the 2.5 % point of χ²_df(λ): the upper end of a 95 % interval.

    The median keeps the upper end above 0 if a window resembles the baseline more closely than chance allows.

    Args:
        t: observed values, at least 0, of any shape.
        df: degrees of freedom, at least 1, in steps of 1/4, broadcast against `t`.

    Returns:
        λ of the broadcast shape, always positive.
    """
    return _HIGH(t, df)


def chi2_quantile(df: ArrayLike, q: float) -> FloatArray:
    """Return a quantile of the central χ²_df, in the shape of `df`; every df at least 1."""
    return by_df(df, lambda distinct: np.asarray(chdtri(distinct, 1.0 - q), dtype=np.float64))


def by_df(df: ArrayLike, function: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Return `function(df)` elementwise, from one call with the distinct values, ascending; shape of `df`."""
    key = df_key(df)
    return by_key(key, lambda distinct: function(distinct / DF_STEPS))


def by_key(key: IntArray, function: Callable[[IntArray], FloatArray]) -> FloatArray:
    """Return `function(key)` elementwise, from one call with the distinct values, ascending; shape of `key`."""
    if key.size == 0:
        return np.empty(key.shape)
    distinct = np.flatnonzero(np.bincount(key.ravel()))
    table = np.empty(int(distinct[-1]) + 1)
    table[distinct] = function(distinct)
    return table[key]


def df_key(df: ArrayLike) -> IntArray:
    """Return degrees of freedom in steps of 1/`DF_STEPS`, as whole numbers."""
    return np.rint(np.multiply(df, DF_STEPS)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Curves:
    """The curves built so far; replaced as a whole, so that readers need no lock."""

    slot: IntArray
    """Index of the curve by `df_key`; -1 if it is not built yet."""
    edge: FloatArray
    """x₀ of each curve, (n_curves,)."""
    cubics: FloatArray
    """Coefficients in the cell's own coordinate, from the third power down, (n_curves · cells, 4)."""


class _Inverse:
    """λ as a function of T and df at one probability."""

    def __init__(self, probability: float) -> None:
        self._probability = probability
        self._from_zero = probability > 0.5
        """Whether λ is 0 at the start of the curve."""
        self._lock = threading.Lock()
        self._curves = _Curves(np.full(1, -1, np.int64), np.empty(0), np.empty((0, 4)))

    def __call__(self, t: ArrayLike, df: ArrayLike) -> FloatArray:
        values, dfs = np.broadcast_arrays(np.asarray(t, np.float64), df_key(df))
        if values.size == 0:
            return np.empty(values.shape)
        curves = self._curves_for(dfs)
        slot = curves.slot[dfs]
        edge = curves.edge[slot]
        root = np.sqrt(values)
        x = np.maximum(root, edge)
        position = edge / x * _CELLS
        cell = np.minimum(position.astype(np.int64), _CELLS - 1)
        u = position - cell
        a = curves.cubics[slot * _CELLS + cell]
        g = ((a[..., 0] * u + a[..., 1]) * u + a[..., 2]) * u + a[..., 3]
        value = np.maximum(x * (x + g), 0.0)
        return np.where(root <= edge, 0.0, value) if self._from_zero else np.asarray(value)

    def _curves_for(self, df: IntArray) -> _Curves:
        if df.min() < DF_STEPS:
            raise ValueError(f"degrees of freedom must be at least 1, not {df.min() / DF_STEPS:g}")
        curves = self._curves
        if df.max() < len(curves.slot) and curves.slot[df].min() >= 0:
            return curves
        with self._lock:
            curves = self._curves
            slot = np.full(max(len(curves.slot), int(df.max()) + 1), -1, np.int64)
            slot[: len(curves.slot)] = curves.slot
            missing = [int(d) for d in np.unique(df) if slot[d] < 0]
            slot[missing] = len(curves.edge) + np.arange(len(missing))
            built = [_curve(d / DF_STEPS, self._probability) for d in missing]
            self._curves = _Curves(
                slot,
                np.concatenate([curves.edge, [edge for edge, _ in built]]),
                np.concatenate([curves.cubics, *(cubics for _, cubics in built)]),
            )
            return self._curves


def _curve(df: float, probability: float) -> tuple[float, FloatArray]:
    """Return x₀ and the cubics of one df, shape (cells, 4)."""
    # Imported on use: it takes a third of a second, and most commands judge nothing.
    from scipy.interpolate import CubicSpline

    start = float(chdtri(df, 1.0 - max(probability, 0.5)))
    edge = float(np.sqrt(start))
    w = np.linspace(0.0, 1.0, _CELLS + 1)
    x = edge / w[1:]
    t = x * x
    large = t >= _LARGE * (df + 10)
    inverse = np.empty(_CELLS)
    inverse[large] = _invert_large(x[large], df, probability)
    inverse[~large] = chndtrinc(t[~large], df, probability)
    if probability > 0.5:
        inverse[-1] = 0.0
    g = np.concatenate([[-2.0 * ndtri(probability)], (inverse - t) / x])
    cubics = CubicSpline(w, g).c.T / _CELLS ** np.array([3.0, 2.0, 1.0, 0.0])
    return edge, np.ascontiguousarray(cubics)


def _invert_large(x: FloatArray, df: float, probability: float) -> FloatArray:
    """Return λ for large T = x², where chndtrinc is slow and Newton from the normal limit converges quickly.

    χ²_df(λ) = (Z + s)² + V with s = √λ and V ~ χ²_{df−1}, so that P[χ²_df(λ) ≤ T] is the mean over V of
    Φ(√(T − V) − s) − Φ(−√(T − V) − s); far above df that is smooth in V, and Gauss points of V's density
    capture it.
    """
    v, weight = _chi2_gauss_points(df - 1)
    root = np.sqrt(np.maximum(x[:, None] ** 2 - v, 0.0))
    s = x - ndtri(probability) - (df - 1) / (2.0 * x)
    for _ in range(_NEWTON_STEPS):
        above, below = root - s[:, None], -root - s[:, None]
        value = ((ndtr(above) - ndtr(below)) * weight).sum(axis=1)
        slope = ((np.exp(-0.5 * below**2) - np.exp(-0.5 * above**2)) * weight).sum(axis=1) / np.sqrt(2.0 * np.pi)
        step = (value - probability) / slope
        s = s - step
        if np.abs(step).max(initial=0.0) < 1e-12:
            break
    return s * s


def _chi2_gauss_points(df: float) -> tuple[FloatArray, FloatArray]:
    """Return points and weights that integrate polynomials up to degree 39 exactly over the density of χ²_df.

    Source: Golub & Welsch (1969), on the recurrence of the generalised Laguerre polynomials; weights sum to
    1, so that no Γ overflows at large df.
    """
    if df == 0:
        return np.zeros(1), np.ones(1)
    from scipy.linalg import eigh_tridiagonal

    alpha = df / 2.0 - 1.0
    k = np.arange(_GAUSS_POINTS)
    points, vectors = eigh_tridiagonal(2.0 * k + alpha + 1.0, np.sqrt(k[1:] * (k[1:] + alpha)))
    return 2.0 * np.asarray(points, np.float64), np.asarray(vectors[0], np.float64) ** 2


_LOW = _Inverse(0.975)
_HIGH = _Inverse(0.025)
