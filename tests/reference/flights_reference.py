"""The oracle of the tests on flights: bins, counts, PSI and rates in plain numpy, without code of the project.

Source: Yurdakul (2018), Western Michigan University dissertation 3208; Newcombe (1998), Statistics in Medicine 17.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtr, chdtrc, chdtri, chndtr
from scipy.stats import fisher_exact, ncx2, norm

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Level = Literal["stable", "minor", "major", "insufficient"]
DAY_S = 86_400
WEEK_S = 7 * DAY_S
MAX_INTEGER_BINS = 20
RARE_CATEGORY = 0.005
FLOOR = 1e-4


@dataclass(frozen=True)
class ReferenceBins:
    """The frozen bins of one column. Counts end with `null` for numbers, with `other` and `null` for strings, whose
    `categories` are those with a training share of at least 0.5 %, sorted."""

    edges: FloatArray | None
    categories: tuple[str, ...] = ()

    def cells(self, column: pa.Array | pa.ChunkedArray) -> IntArray:
        if self.edges is not None:
            values = as_floats(column)
            cells = np.searchsorted(self.edges, values, side="right")
            return np.where(np.isnan(values), len(self.edges) + 1, cells)
        rank = {category: i for i, category in enumerate(self.categories)}
        other, null = len(rank), len(rank) + 1
        return np.array([null if v is None else rank.get(v, other) for v in column.to_pylist()], dtype=np.int64)

    @property
    def n_cells(self) -> int:
        """Number of cells: numbers have one bin more than edges, and `null`; strings also have `other` and `null`."""
        return len(self.categories if self.edges is None else self.edges) + 2

    def counts(self, column: pa.Array | pa.ChunkedArray) -> IntArray:
        return np.bincount(self.cells(column), minlength=self.n_cells)


def as_floats(column: pa.Array | pa.ChunkedArray) -> FloatArray:
    values: FloatArray = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    return values


def reference_bins(column: pa.Array | pa.ChunkedArray) -> ReferenceBins:
    if pa.types.is_string(column.type):
        shares = pc.value_counts(column.drop_null()).to_pylist()
        least = RARE_CATEGORY * len(column)
        return ReferenceBins(None, tuple(sorted(s["values"] for s in shares if s["counts"] >= least)))
    integer = pa.types.is_integer(column.type)
    values = as_floats(column.drop_null())
    # Floats may be served in 32 bits: values with equal 32-bit floats count as one value.
    distinct, counts = np.unique(values if integer else values.astype(np.float32), return_counts=True)
    between = (distinct[:-1].astype(np.float64) + distinct[1:].astype(np.float64)) / 2
    if integer and len(distinct) <= MAX_INTEGER_BINS:
        return ReferenceBins(between)
    below = np.cumsum(counts)[:-1]  # rows under each possible edge
    cuts = {int(np.argmin(np.abs(10 * below - decile * len(values)))) for decile in range(1, 10)}
    for heavy in np.flatnonzero(10 * counts >= len(values)):
        cuts |= {int(cut) for cut in (heavy - 1, heavy) if 0 <= cut < len(between)}
    return ReferenceBins(between[sorted(cuts)])


@dataclass(frozen=True)
class ReferencePsi:
    n: int
    psi: float
    df: float
    p_value: float
    low: float
    high: float
    level: Level
    n_effective: float
    """n·m/(n + m)/φ."""


def reference_psi(
    base_counts: IntArray,
    window_counts: IntArray,
    phi: float = 1.0,
    minor: float = 0.1,
    major: float = 0.2,
    nu: float = np.inf,
) -> ReferencePsi:
    """Judge a window of at least one row against the baseline, both as counts per cell."""
    b, c = np.asarray(base_counts, np.float64), np.asarray(window_counts, np.float64)
    p, q, p_floored, q_floored = smoothed_shares(b, c)
    terms = (q - p) * np.log(q / p)
    psi = float(terms.sum())
    m, n = b.sum(), c.sum()
    df = min(max(1, int(np.sum((b / b.sum() >= FLOOR) & (c.sum() * p >= 0.5))) - 1), nu)
    n_h = n * m / (n + m) / phi
    low_0, high_0 = _interval(n_h * psi, df)
    d = max(0.0, psi - df / n_h)
    g = np.where(q_floored, 0.0, np.log(q / p) + 1 - p / q)
    h = np.where(p_floored, 0.0, np.log(p / q) + 1 - q / p)
    variance = phi * (_variance(q, g) / n + _variance(p, h) / m)
    r = max(1.0, n_h * variance / (4 * psi)) if psi > 0 else 1.0
    low = max(0.0, d - np.sqrt(r) * (d - low_0 / n_h))
    high = d + np.sqrt(r) * (high_0 / n_h - d)
    level: Level
    if n_h >= enough(df, minor, major):
        level = "major" if psi > major else "minor" if psi > minor else "stable"
    else:
        level = "major" if psi > major and low > minor else "insufficient"
    p_value = float(chdtrc(df, n_h * psi))
    return ReferencePsi(int(n), psi, df, p_value, float(low), float(high), level, float(n_h))


def smoothed_shares(b: FloatArray, c: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray, BoolArray]:
    raw_p = (b + 0.5) / (b.sum() + len(b) / 2)
    p = np.maximum(FLOOR, raw_p)
    a = np.minimum(0.5, c.sum() * p)
    raw_q = (c + a) / (c.sum() + a.sum())
    return p, np.maximum(FLOOR, raw_q), raw_p < FLOOR, raw_q < FLOOR


def _variance(weights: FloatArray, values: FloatArray) -> float:
    shares = weights / weights.sum()
    mean = float((shares * values).sum())
    return float((shares * (values - mean) ** 2).sum())


def _interval(t: float, df: float) -> tuple[float, float]:
    """Return the non-centralities at which T is the 97.5 % point, and max(T, median) the 2.5 % point; 0 if none."""

    def solve(observed: float, share: float) -> float:
        if chdtr(df, observed) <= share:
            return 0.0
        upper = 10.0 + 2 * observed
        while chndtr(observed, df, upper) > share:
            upper *= 2
        return float(brentq(lambda nc: chndtr(observed, df, nc) - share, 1e-12, upper, xtol=1e-12, rtol=1e-13))

    return solve(t, 0.975), solve(max(t, float(chdtri(df, 0.5))), 0.025)


_ENOUGH: dict[tuple[float, float, float], float] = {}


def enough(df: float, minor: float = 0.1, major: float = 0.2) -> float:
    """n*: the effective n from which a true PSI at the minor threshold is called major at most 2.5 % of the time."""
    key = (df, minor, major)
    if key not in _ENOUGH:
        _ENOUGH[key] = float(brentq(lambda n: ncx2.sf(major * n, df, minor * n) - 0.025, 10, 1e5, xtol=1e-9))
    return _ENOUGH[key]


def tumbling_windows(at_s: IntArray, length_s: int) -> Iterator[BoolArray]:
    """Row masks of disjoint windows at multiples of the length that lie wholly within the training times."""
    first, last = int(at_s.min()), int(at_s.max())
    for start in range(-(-first // length_s) * length_s, last - length_s + 1, length_s):
        yield (at_s >= start) & (at_s < start + length_s)


@dataclass(frozen=True)
class ReferencePhi:
    """φ and ν of one window length, φ at the degrees of freedom of the bins, and the number of windows."""

    value: float = 1.0
    nu: float = np.inf
    of_bins: float = 1.0
    windows: int = 0


def reference_phi(cells: IntArray, n_cells: int, at_s: IntArray, length_s: int, shorter: ReferencePhi) -> ReferencePhi:
    """Fit φ·χ²_ν at two quantiles to T of windows, each compared with the other rows; step by step instead of bisected.

    With fewer than 20 windows ν is that of the bins and φ at least that of the shorter length; with fewer than 5 both
    are those of the shorter length.
    """
    base = np.bincount(cells, minlength=n_cells)
    t, df = [], []
    for rows in tumbling_windows(at_s, length_s):
        judged = reference_psi(base, np.bincount(cells[rows], minlength=n_cells))
        t.append(judged.n_effective * judged.psi * (len(cells) + judged.n) / (len(cells) - judged.n))
        df.append(judged.df)
    if len(t) < 5:
        return ReferencePhi(shorter.value, shorter.nu, shorter.of_bins, len(t))

    def ratios(nu: float) -> list[float]:
        own = np.minimum(df, nu)
        return [float(np.quantile(np.array(t) / chdtri(own, 1 - q), q)) for q in (0.5, 0.85)]

    of_bins = max(1.0, *ratios(np.inf))
    if len(t) < 20:
        of_bins = max(of_bins, shorter.of_bins)
        return ReferencePhi(of_bins, np.inf, of_bins, len(t))
    middle, upper = ratios(np.inf)
    chance = 1.0 + 2.6 * np.sqrt(2 / (max(df) * len(t)))
    nu = np.inf
    if upper > chance * middle and upper > chance:
        steps = np.arange(max(df) - 0.25, 0.99, -0.25)
        nu = next((float(each) for each in steps if ratios(each)[1] <= ratios(each)[0]), 1.0)
    return ReferencePhi(max(1.0, *ratios(nu)), nu, of_bins, len(t))


def reference_rate_phi(hits: BoolArray, at_s: IntArray, length_s: int, of_bins: float) -> float:
    """Return φ of a rate at one window length, with at least 20 windows."""
    share, spread, expected, windows = float(hits.mean()), 0.0, 0.0, 0
    for rows in tumbling_windows(at_s, length_s):
        n, k = int(rows.sum()), int(hits[rows].sum())
        windows += k > 0
        if n and k - n * share <= max(0.05, 3 * share) * n:
            spread += (k - n * share) ** 2
            expected += n * share * (1 - share) * (1 - n / len(hits))
    own = max(1.0, spread / expected if expected else 1.0)
    return own if windows >= 20 else max(own, of_bins)


@dataclass(frozen=True)
class ReferenceRate:
    rate: float
    delta: float
    low: float
    high: float
    level: Level
    p_value: float


def wilson(k: float, n: float) -> tuple[float, float]:
    z = float(norm.ppf(0.975))
    centre, half = k + z * z / 2, z * np.sqrt(k * (n - k) / n + z * z / 4)
    return float((centre - half) / (n + z * z)), float((centre + half) / (n + z * z))


def reference_rate(
    base_k: int, base_n: int, k: int, n: int, phi: float = 1.0, minor: float = 0.01, major: float = 0.05
) -> ReferenceRate:
    """Compare a rate with that of the baseline by Newcombe's interval; the window counts as n/φ events."""
    rate, base = k / n, base_k / base_n
    l1, u1 = wilson(k / phi, n / phi)
    l2, u2 = wilson(base_k, base_n)
    delta = rate - base
    low = float(delta - np.hypot(rate - l1, u2 - base))
    high = float(delta + np.hypot(u1 - rate, base - l2))
    level: Level
    if wilson(0, n / phi)[1] < minor:
        level = "major" if delta > major and low > minor else "minor" if delta > minor and low > 0 else "stable"
    else:
        level = "major" if low > major else "insufficient"
    table = [[round(of / size), round(all_rows / size)] for of, all_rows, size in ((k, n, phi), (base_k, base_n, 1.0))]
    p_value = float(fisher_exact(np.array([[of, rows - of] for of, rows in table])).pvalue)
    return ReferenceRate(rate, delta, low, high, level, p_value)


@dataclass(frozen=True)
class ReferenceField:
    name: str
    bins: ReferenceBins
    base_counts: IntArray
    phi: dict[int, ReferencePhi]


def reference_field(
    name: str, train: pa.Table, at_s: IntArray, lengths_s: tuple[int, ...] = (DAY_S, WEEK_S)
) -> ReferenceField:
    bins = reference_bins(train[name])
    cells = bins.cells(train[name])
    phi: dict[int, ReferencePhi] = {}
    shorter = ReferencePhi()
    for length_s in lengths_s:
        phi[length_s] = shorter = reference_phi(cells, bins.n_cells, at_s, length_s, shorter)
    return ReferenceField(name, bins, np.bincount(cells, minlength=bins.n_cells), phi)


def window_counts(
    field: ReferenceField, column: Any, at_s: IntArray, length_s: int, hop_s: int
) -> Iterator[tuple[int, IntArray]]:
    """End (seconds since the epoch, a multiple of the hop) and counts of every non-empty window of a column."""
    cells = field.bins.cells(column)
    hop_of = at_s // hop_s
    first, per_window = int(hop_of.min()), length_s // hop_s
    # Rows per hop and cell; a window is the sum of its hops.
    n_hops = int(hop_of.max()) - first + 1
    flat = (hop_of - first) * field.bins.n_cells + cells
    by_hop = np.bincount(flat, minlength=n_hops * field.bins.n_cells).reshape(n_hops, field.bins.n_cells)
    for end in range(1, n_hops + per_window):
        counts = by_hop[max(0, end - per_window) : end].sum(axis=0)
        if counts.sum() > 0:
            yield (first + end) * hop_s, counts
