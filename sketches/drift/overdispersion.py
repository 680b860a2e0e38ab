"""Overdispersion of correlated traffic: φ, the variance between windows relative to that of independent events, and ν.

Windows that share a level, such as their weather, move the bins in one direction or a few. Their variance is then far
above the mean over all directions, and drift has the same direction. So T of known-good windows of one length, each
compared with the rest of the baseline, is taken as φ·χ²_ν, with ν from 1 to the degrees of freedom of the bins. With
Q_q(ν) = quantile_q(T)/quantile_q(χ²_ν), ν is the largest at which Q₀.₈₅ ≤ Q₀.₅, and φ = max(1, Q₀.₅(ν), Q₀.₈₅(ν)).
Where φ or Q₀.₈₅/Q₀.₅ of all degrees of freedom is not above 1 by more than chance, ν keeps them all.

Both are fitted at quantiles and not at the mean, because drifted windows among the good ones hardly move them: with a
tenth of such windows, the mean of a true 2 is 4.8, φ̂ is 2.5. From 100 windows of independent events φ̂ is 2 % too large
at df 9, with a relative standard deviation of 6 %, and 9 % at df 1, with 19 %.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.baseline.baseline import Phi, PhiFlag
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.drift.noncentral import DF_STEPS, chi2_quantile
from barograph_server.sketches.drift.psi import psi_values

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

QUANTILES = (0.5, 0.85)
"""Quantiles at which φ·χ²_ν is fitted to T; the larger φ counts."""
ROUGH_WINDOWS = 5
"""Fewest windows for an own φ̂; with fewer, that of the next shorter length is used."""
SURE_WINDOWS = 20
"""Fewest windows for φ̂ alone; with fewer, it is at least that of the next shorter length."""
CHANCE = 2.6
"""φ̂ and Q₀.₈₅/Q₀.₅ of independent events are at most 1 + `CHANCE`·√(2/(df·windows)), each in 95 % of fields."""
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
    nu: FloatArray
    """Degrees of freedom, at least 1, in steps of 1/4; 0: those of the bins."""
    of_bins: FloatArray
    """φ at the degrees of freedom of the bins, at least 1: for rough longer windows."""
    windows: IntArray
    """Number of windows of this length with events."""
    flag: NDArray[np.object_]
    """`ok` from 20 windows; `rough` from 5, with all degrees of freedom of the bins; `shorter`: φ and ν are those of
    the next shorter length; `unknown`: φ is 1."""

    def of(self, group: int) -> Phi:
        flag: PhiFlag = self.flag[group]
        return Phi(
            value=float(self.value[group]), nu=float(self.nu[group]), windows=int(self.windows[group]), flag=flag
        )


def learn_phi(t: ArrayLike, df: ArrayLike, n: ArrayLike, shorter: Overdispersion | None = None) -> Overdispersion:
    """Learn φ and ν of one window length.

    Because df can differ between windows of one group (sparse windows fill fewer bins), each T is divided by the
    quantile of its own χ², of min(df, ν); with a single df that is the ratio of the quantiles itself.

    Args:
        t: T at φ = 1 of disjoint known-good windows, each compared with the other rows, (W, G); W may be 0.
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
        ones, none = np.ones(groups), np.zeros(groups, np.int64)
        shorter = Overdispersion(ones, np.zeros(groups), ones, none, np.full(groups, "unknown", np.object_))
    if len(shorter.value) != groups:
        raise ValueError(f"φ of the shorter length has {len(shorter.value)} groups, T has {groups}")
    used = events > 0
    windows = used.sum(axis=0)
    rough = (windows >= ROUGH_WINDOWS) & (windows < SURE_WINDOWS)
    few = windows < ROUGH_WINDOWS
    nu = np.where(few, shorter.nu, 0.0)
    fitted = np.flatnonzero(~(rough | few))
    nu[fitted] = _learn_nu(values[:, fitted], dfs[:, fitted], used[:, fitted])
    of_bins, estimate = (
        np.maximum(1.0, np.maximum.reduce(_ratios(values, dfs, used, most)))
        for most in (np.full(groups, np.inf), np.where(nu > 0.0, nu, np.inf))
    )
    of_bins = np.where(few, shorter.of_bins, np.where(rough, np.maximum(of_bins, shorter.of_bins), of_bins))
    value = np.where(few, shorter.value, np.where(rough, of_bins, estimate))
    inherited = np.where(shorter.flag == "unknown", "unknown", "shorter")
    flag = np.where(few, inherited, np.where(rough, "rough", "ok")).astype(np.object_)
    return Overdispersion(value, nu, of_bins, windows, flag)


def _ratios(t: FloatArray, df: IntArray, used: NDArray[np.bool_], nu: FloatArray) -> list[FloatArray]:
    """Return Q_q(ν) of each group at each of `QUANTILES`, all (G,)."""
    own = np.minimum(np.maximum(df, 1), nu)
    return [_quantile(t / chi2_quantile(own, q), used, q) for q in QUANTILES]


def _learn_nu(t: FloatArray, df: IntArray, used: NDArray[np.bool_]) -> FloatArray:
    """Return ν of each group, (G,); 0 where events are independent, or T has no heavier tail than χ² of the bins."""
    whole = np.full(t.shape[1], np.inf)
    middle, upper = _ratios(t, df, used, whole)
    largest = np.max(np.where(used, np.maximum(df, 1), 1), axis=0, initial=1)
    spread = np.sqrt(2.0 / (largest * np.maximum(used.sum(axis=0), 1)))
    chance = 1.0 + CHANCE * spread
    heavy = np.flatnonzero((upper > chance * middle) & (upper > chance) & (largest > 1))
    nu = np.zeros(t.shape[1])
    t, df, used = t[:, heavy], df[:, heavy], used[:, heavy]
    # Bisection on steps of 1/4: the tail fits at the lower end, or that is 1.
    low, high = np.full(len(heavy), DF_STEPS), largest[heavy] * DF_STEPS
    while (high - low > 1).any():
        between = (low + high) // 2
        middle, upper = _ratios(t, df, used, between / DF_STEPS)
        fits = upper <= middle
        low, high = np.where(fits, between, low), np.where(fits, high, between)
    nu[heavy] = low / DF_STEPS
    return nu


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
