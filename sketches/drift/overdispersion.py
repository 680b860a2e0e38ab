"""Overdispersion φ: variance between windows of correlated traffic relative to that of independent events.

φ̂ = max(1, Q₀.₅, Q₀.₈₅) with Q_q = quantile_q(T)/quantile_q(χ²_df), over disjoint known-good windows of one length, each
compared with the whole baseline, itself included. The upper quantile covers windows that share a common level, such as
their weather: T then has a heavier tail than φ·χ² fitted at the median. Both are quantiles instead of the mean, because
drifted windows among the good ones hardly move them: with a tenth of such windows, the mean of a true 2 is 4.8, φ̂ is
2.5. From 100 windows of independent events φ̂ is 2 % too large at df 9, with a relative standard deviation of 6 %, and
9 % at df 1, with 19 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.baseline.baseline import Phi, PhiFlag
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.drift.noncentral import chi2_quantile
from barograph_server.sketches.drift.psi import psi_values

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

QUANTILES = (0.5, 0.85)
"""Quantiles at which φ·χ² is fitted to T; the larger φ counts."""
ROUGH_WINDOWS = 5
"""Fewest windows for an own φ̂; with fewer, that of the next shorter length is used."""
SURE_WINDOWS = 20
"""Fewest windows for φ̂ alone; with fewer, it is at least that of the next shorter length."""
FINDING = 5.0
"""A larger φ̂ is reported as a finding: such a field needs far more events than its windows seem to hold."""

SPARSE_EVENTS = 200
"""With fewer events in a window, T is no χ²: for independent events its median is up to nine times too large."""
SIMULATED_WINDOWS = 256
_SEED = 20_130_901


@dataclass(frozen=True, slots=True)
class Overdispersion:
    """φ of G groups (field and slice) at one window length; every array has the shape (G,)."""

    value: FloatArray
    """At least 1."""
    windows: IntArray
    """Number of windows of this length with events."""
    flag: NDArray[np.object_]
    """`ok` from 20 windows; `rough` from 5; `shorter`: φ is that of the next shorter length; `unknown`: φ is 1."""

    def of(self, group: int) -> Phi:
        """Return φ of one group in the form of a baseline."""
        flag: PhiFlag = self.flag[group]
        return Phi(value=float(self.value[group]), windows=int(self.windows[group]), flag=flag)


def learn_phi(t: ArrayLike, df: ArrayLike, n: ArrayLike, shorter: Overdispersion | None = None) -> Overdispersion:
    """Learn φ of one window length.

    Because df can differ between windows of one group (sparse windows fill fewer bins), each T is divided by the
    quantile of its own χ²_df; with a single df that is the ratio of the quantiles itself.

    Args:
        t: T at φ = 1 of disjoint known-good windows, (W, G), as `psi_values` gives it; W may be 0.
        df: degrees of freedom, (W, G).
        n: events per window, (W, G); windows without events are ignored.
        shorter: φ of the next shorter window length, of the same groups; None for the shortest.

    Raises:
        ValueError: if shapes do not fit.
    """
    values, dfs, events = np.asarray(t, np.float64), np.asarray(df, np.int64), np.asarray(n)
    if values.ndim != 2 or values.shape != dfs.shape or values.shape != events.shape:
        raise ValueError(f"T, df and n must have one shape (W, G), not {values.shape}, {dfs.shape} and {events.shape}")
    groups = values.shape[1]
    if shorter is None:
        shorter = Overdispersion(np.ones(groups), np.zeros(groups, np.int64), np.full(groups, "unknown", np.object_))
    if len(shorter.value) != groups:
        raise ValueError(f"φ of the shorter length has {len(shorter.value)} groups, T has {groups}")
    used = events > 0
    windows = used.sum(axis=0)
    ratios = [_quantile(values / chi2_quantile(np.maximum(dfs, 1), q), used, q) for q in QUANTILES]
    estimate = np.maximum(1.0, np.maximum.reduce(ratios))
    rough = (windows >= ROUGH_WINDOWS) & (windows < SURE_WINDOWS)
    few = windows < ROUGH_WINDOWS
    value = np.where(few, shorter.value, np.where(rough, np.maximum(estimate, shorter.value), estimate))
    inherited = np.where(shorter.flag == "unknown", "unknown", "shorter")
    flag = np.where(few, inherited, np.where(rough, "rough", "ok")).astype(np.object_)
    return Overdispersion(value, windows, flag)


def sparse_inflation(bins: PsiBins, n: FloatArray) -> FloatArray:
    """Return the factor by which T is too large only because windows hold few events, shape (G,), at least 1.

    With n·p under ½ in most bins, no degree of freedom is left and T jumps; as φ that would be a finding in every
    low-traffic field (independent events on ten equal bins: 2.4 at n = 1, 4.5 at n = 5, 0.9 at n = 50; on a Zipf field
    9.3 at n = 5, 1.4 at n = 50). So the same estimate from windows of the same sizes, drawn from the baseline, is
    divided out if it is above 1. From `SPARSE_EVENTS` events on the factor is 1 by definition.
    """
    inflation = np.ones(bins.n_groups)
    for group, (start, size) in enumerate(zip(bins.starts.tolist(), bins.sizes.tolist(), strict=True)):
        sizes = np.sort(n[n[:, group] > 0, group]).astype(np.int64)
        if sizes.size == 0 or sizes[sizes.size // 2] >= SPARSE_EVENTS:
            continue
        # Evenly over the sorted sizes, so that few windows represent all.
        chosen = sizes[np.linspace(0, sizes.size - 1, SIMULATED_WINDOWS).round().astype(np.intp)]
        base = bins.base_bins[start : start + size]
        drawn = np.random.default_rng(_SEED).multinomial(chosen, base / base.sum())
        _, df, t, _ = psi_values(base, drawn, [0])
        ratios = [np.quantile(t / chi2_quantile(df, q), q) for q in QUANTILES]
        inflation[group] = max(1.0, float(max(ratios)))
    return inflation


def _quantile(values: FloatArray, used: NDArray[np.bool_], q: float) -> FloatArray:
    """Return a quantile of each column's used entries, interpolated; 0 if there is none."""
    if values.shape[0] == 0:
        return np.zeros(values.shape[1])
    ordered = np.sort(np.where(used, values, np.inf), axis=0)
    count = used.sum(axis=0)
    columns = np.arange(values.shape[1])
    position = q * np.maximum(count - 1, 0)
    below = np.floor(position).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    low, high = ordered[below, columns], ordered[above, columns]
    low, high = np.where(count > 0, low, 0.0), np.where(count > 0, high, 0.0)
    result: FloatArray = low + (position - below) * (high - low)
    return result
