"""PSI of two samples of production traffic: arms of a test, a version and its predecessor.

A window is compared with a frozen baseline; here both sides are samples that were counted in the same window, and
either may be the smaller. So the PSI of `sketches.drift.psi` has a symmetric form,
`psi_differences(a, b)` = `psi_differences(b, a)`:

    PSI = Σ (qᵢ − pᵢ) ln(qᵢ / pᵢ)
    rᵢ = (bᵢ + cᵢ)/(m + n),  pᵢ = max(10⁻⁴, (bᵢ + dᵢ)/(m + Σd)),  dᵢ = min(½, m·rᵢ)  (left: bᵢ of m)
                             qᵢ = max(10⁻⁴, (cᵢ + aᵢ)/(n + Σa)),  aᵢ = min(½, n·rᵢ)  (right: cᵢ of n)
    df = max(1, bins − 1)

over the bins in which the smaller side expects at least half an event and rᵢ ≥ 10⁻⁴; all other bins are merged into
one bin, which counts under the same condition. With the baseline's formula and a small left side (m = 50, n = 5,000,
bins of 2⁻¹ to 2⁻¹⁷), p < 0.05 in every window without a difference; in this form in at most 5.7 % (two equal bins at
n = 50), because the choice of merged bins depends only on the sum of both sides.

Without a difference T = n_h′·PSI follows χ²_df, with one noise term for each side and each bin that was read from a
sketch:

    1/n_h′ = φ_left/m + φ_right/n + noise

φ, the overdispersion of the field, applies to both sides: it was learned from windows compared with all of training,
so it is the variance of *one* window relative to independent events. Effects on both sides (weather, the hour) cancel
in the difference and are counted nevertheless; effects on one side (ten requests of one user, who is in one arm) do
not cancel. So n_h′ is conservative: false alarms are at most nominal, and differences may be detected later than
possible.

Interval, p and level are those of `sketches.drift.psi`: enough data is n_h′ ≥ n*(df). A level says how much two sides
differ, not which is better.

Source: see `sketches.drift.psi`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from barograph_server.sketches.baseline.levels import InsufficientReason, Level
from barograph_server.sketches.drift.power import n_star
from barograph_server.sketches.drift.psi import SHARE_FLOOR, psi_interval, psi_levels, psi_variance_ratio

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

COUNTED = 0.5
"""Fewest events that the smaller side must expect in a bin for the bin to stay separate."""


@dataclass(frozen=True, slots=True)
class PsiDifferences:
    """P pairs over G groups (fields); every array has the shape (P, G).

    If a side is empty: psi 0, interval [0, ∞], p 1, df 1, level `insufficient`. No value is NaN.
    """

    n_left: IntArray
    n_right: IntArray
    psi: FloatArray
    low: FloatArray
    """Lower end of the 95 % interval of the true PSI, at least 0."""
    high: FloatArray
    p_value: FloatArray
    df: FloatArray
    level: NDArray[np.int8]
    """Numbers of `sketches.baseline.levels.Level`."""
    reason: NDArray[np.int8]
    """Numbers of `InsufficientReason`."""
    top_bin: IntArray
    """Index within the group of the bin that contributes most, the first of equals; −1 if there is no data."""


def psi_differences(
    left: ArrayLike,
    right: ArrayLike,
    starts: ArrayLike,
    *,
    phi_left: ArrayLike = 1.0,
    phi_right: ArrayLike = 1.0,
    nu: ArrayLike = np.inf,
    noise: ArrayLike = 0.0,
    thresholds: tuple[ArrayLike, ArrayLike] = (0.1, 0.2),
    completeness: ArrayLike = 1.0,
) -> PsiDifferences:
    """Judge pairs of counts on the same bins.

    Args:
        left: counts, (P, n_bins).
        right: counts on the same bins, same shape.
        starts: first bin of each group, ascending from 0, (G,).
        phi_left: overdispersion of the left side, at least 1; a scalar, (G,) or (P, G).
        nu: most degrees of freedom of T, at least 1, in steps of 1/4; a scalar or (G,).
        noise: Σ 1/n_eff of counts read from sketches (`sketches.comparison.rebin.Rebinned.noise`); a scalar, (G,) or
            (P, G); 0 if all counts are exact.
        thresholds: of `minor` and of `major`, which is above it; each a scalar or (G,).
        completeness: share of the events of both sides that was not lost, a scalar or (P,); it affects only the reason.

    Raises:
        ValueError: shapes do not fit, a count is negative or not a whole number, or φ is under 1.
    """
    b, c, first = _counts(left), _counts(right), np.asarray(starts, np.int64)
    if b.shape != c.shape:
        raise ValueError(f"both sides need the same bins, not {b.shape} and {c.shape}")
    if first.ndim != 1 or not first.size or first[0] != 0 or np.any(np.diff(first) < 1) or first[-1] >= b.shape[1]:
        raise ValueError(f"group starts must ascend from 0 and stay under the {b.shape[1]} bins")
    shape = (len(b), len(first))
    phis = [np.broadcast_to(np.asarray(phi, np.float64), shape) for phi in (phi_left, phi_right)]
    noises = np.broadcast_to(np.asarray(noise, np.float64), shape)
    check_phi(*phis)
    if noises.size and not noises.min() >= 0.0:
        raise ValueError("the noise of sketches must not be negative")
    minors, majors = (np.broadcast_to(np.asarray(threshold, np.float64), shape) for threshold in thresholds)

    pooled = _Pooled.of(b, c, first)
    m, n = pooled.m, pooled.n
    known = (m > 0.0) & (n > 0.0)
    per_left, per_right = phis[0] / np.maximum(m, 1.0), phis[1] / np.maximum(n, 1.0)
    n_h = np.where(known, 1.0 / (per_left + per_right + noises), 0.0)
    psi, df = np.where(known, pooled.psi, 0.0), np.where(known, np.minimum(pooled.df, nu), 1.0)
    t = n_h * psi
    safe_n_h = np.where(known, n_h, 1.0)
    ratio = psi_variance_ratio(psi, safe_n_h, pooled.variance(per_left, per_right))
    low, high = psi_interval(psi, df, safe_n_h, ratio)
    needed = n_star(df, minors, majors)
    enough = known & (n_h >= needed)
    level = psi_levels(psi, low, known, enough, minors, majors)
    reason = np.full(shape, InsufficientReason.too_few_events, np.int8)
    reason[1.0 / (1.0 / np.maximum(m, 1.0) + 1.0 / np.maximum(n, 1.0) + noises) >= needed] = (
        InsufficientReason.correlated_events
    )
    counted = np.broadcast_to(np.maximum(completeness, 1e-9), len(b))[:, None]
    reason[1.0 / (counted * (per_left + per_right) + noises) >= needed] = InsufficientReason.lost_events
    reason[~known] = InsufficientReason.no_events
    reason[level != Level.insufficient] = InsufficientReason.none
    low, high = np.where(known, low, 0.0), np.where(known, high, np.inf)
    return PsiDifferences(
        n_left=m.astype(np.int64),
        n_right=n.astype(np.int64),
        psi=psi,
        low=low,
        high=high,
        p_value=np.asarray(chdtrc(df, t), np.float64),
        df=df,
        level=level,
        reason=reason,
        top_bin=np.where(known, pooled.top_bin, -1),
    )


@dataclass(frozen=True, slots=True)
class _Pooled:
    """Shares of both sides on their bins; bins that are too rare are merged into the last bin of their group.

    `p`, `q`, … have the shape (P, n_bins + G); their runs begin at `starts`.
    """

    m: FloatArray
    n: FloatArray
    starts: IntArray
    p: FloatArray
    q: FloatArray
    p_floored: BoolArray
    q_floored: BoolArray
    df: IntArray
    psi: FloatArray
    top_bin: IntArray

    @classmethod
    def of(cls, b: IntArray, c: IntArray, first: IntArray) -> _Pooled:
        groups, n_bins = len(first), b.shape[1]
        sizes = np.diff(np.append(first, n_bins))
        group = np.repeat(np.arange(groups), sizes)
        m = np.add.reduceat(b, first, axis=1).astype(np.float64)
        n = np.add.reduceat(c, first, axis=1).astype(np.float64)
        total, least = np.maximum(m + n, 1.0), np.minimum(m, n)
        r = (b + c) / total[:, group]
        alone = (r >= SHARE_FLOOR) & (least[:, group] * r >= COUNTED)
        # Each group's bins, followed by one for the rest.
        starts = first + np.arange(groups)
        column = np.arange(n_bins) + group
        rest = starts + sizes
        wide_group = np.repeat(np.arange(groups), sizes + 1)
        sides = []
        for counts, of in ((b, m), (c, n)):
            wide = np.zeros((len(b), n_bins + groups))
            wide[:, column] = np.where(alone, counts, 0)
            wide[:, rest] = np.add.reduceat(np.where(alone, 0, counts), first, axis=1)
            sides.append((wide, of))
        r = (sides[0][0] + sides[1][0]) / total[:, wide_group]
        counted = (r >= SHARE_FLOOR) & (least[:, wide_group] * r >= COUNTED)
        shares = []
        for wide, of in sides:
            added = np.minimum(0.5, of[:, wide_group] * r)
            whole = of + np.add.reduceat(added, starts, axis=1)
            shares.append((wide + added) / np.where(whole > 0.0, whole, 1.0)[:, wide_group])
        p, q = (np.maximum(SHARE_FLOOR, plain) for plain in shares)
        part = (q - p) * np.log(q / p)
        largest = np.maximum.reduceat(part, starts, axis=1)
        index = np.where(part == largest[:, wide_group], np.arange(part.shape[1]), part.shape[1])
        top = np.minimum.reduceat(index, starts, axis=1)
        # The merged bin is reported as the one of its bins that differs most.
        apart = np.abs(b / np.maximum(m, 1.0)[:, group] - c / np.maximum(n, 1.0)[:, group])
        apart = np.where(alone, -1.0, apart)
        furthest = np.maximum.reduceat(apart, first, axis=1)
        of_rest = np.where(apart == furthest[:, group], np.arange(n_bins), n_bins)
        top_rest = np.minimum.reduceat(of_rest, first, axis=1) - first
        return cls(
            m=m,
            n=n,
            starts=starts,
            p=p,
            q=q,
            p_floored=shares[0] < SHARE_FLOOR,
            q_floored=shares[1] < SHARE_FLOOR,
            df=np.maximum(1, np.add.reduceat(counted, starts, axis=1, dtype=np.int64) - 1),
            psi=np.add.reduceat(part, starts, axis=1),
            top_bin=np.where(top == rest, top_rest, top - starts),
        )

    def variance(self, per_left: FloatArray, per_right: FloatArray) -> FloatArray:
        """Return the first-order variance of PSI (`sketches.drift.psi`): Var_q(g)·φ/n + Var_p(h)·φ/m, (P, G)."""
        ratio = self.q / self.p
        log_ratio = np.log(ratio)
        g = np.where(self.q_floored, 0.0, log_ratio + 1.0 - 1.0 / ratio)
        h = np.where(self.p_floored, 0.0, 1.0 - ratio - log_ratio)

        def variance(share: FloatArray, value: FloatArray) -> FloatArray:
            mean = np.add.reduceat(share * value, self.starts, axis=1)
            spread: FloatArray = np.add.reduceat(share * value * value, self.starts, axis=1) - mean**2
            return spread

        return variance(self.q, g) * per_right + variance(self.p, h) * per_left


def _counts(values: ArrayLike) -> IntArray:
    counts = np.atleast_2d(np.asarray(values))
    if counts.ndim != 2 or counts.dtype.kind not in "iu":
        raise ValueError(f"counts must be whole numbers of shape (P, n_bins), not {counts.dtype} of {counts.shape}")
    if counts.size and counts.min() < 0:
        raise ValueError("a count is negative")
    return counts.astype(np.int64, copy=False)


def check_phi(*phis: FloatArray) -> None:
    """Raise a ValueError if an overdispersion is under 1."""
    if not all(np.all(phi >= 1.0) for phi in phis):
        raise ValueError("φ, the overdispersion, must be at least 1")
