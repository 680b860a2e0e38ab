"""The mean rank of a window's values among those of training, and whether training's own variation explains it.

With s_b the middle rank of bin b among the values of training, less ½, d = Σ c_b·s_b/n is 0 on average without drift,
and ½ + d is the probability that a value of the window is above one of training. A level that all values share, such as
the weather's, moves d from window to window. Its standard deviation σ and autocorrelation r are learned from training
windows of a day, or of the window's own length if that is shorter. With V(r, k) the factor by which autocorrelation
increases the variance of the mean of k windows, a window as long as L of them has

    var d = σ²·(V(r, L)/L + V(r, K)/K) + v·(1/n + 1/m),    t = d/√var d,

where K is the number of training windows, m of training values, and v = Σ p_b·s_b². The first term has
K·(1 − r²)/(1 + r²) − 1 degrees of freedom, the second all (Satterthwaite). PSI measures all bins, and needs far more
independent data for a level than this test for a direction.

Sources: Bayley and Hammersley (1946), Supplement to the Journal of the Royal Statistical Society 8, 184–197; Marriott
and Pope (1954), Biometrika 41, 390–402.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from barograph.contract import Window
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.drift.overdispersion import ROUGH_WINDOWS

FloatArray = NDArray[np.float64]

DAY_S = 86_400
MAX_AUTOCORRELATION = 0.95
"""Largest autocorrelation: no number of windows could tell a larger one from a trend."""
LEAST_VARIANCE = 0.2
"""Smallest share of σ² that the variance of autocorrelated windows around their own mean is taken for."""


@dataclass(frozen=True, slots=True)
class MeanRanks:
    """Mean ranks of W windows, each (W, G)."""

    d: FloatArray
    """From −½ to ½; 0 without values."""
    n: FloatArray
    """Values; null is none."""


def mean_ranks(bins: PsiBins, window_bins: IntArray) -> MeanRanks:
    """Return the mean ranks of windows from their bins, (W, nb)."""
    if not bins.n_groups:
        return MeanRanks(*(np.zeros((len(window_bins), 0)) for _ in range(2)))
    n = (np.add.reduceat(window_bins, bins.starts, axis=1) - window_bins[:, bins.nulls]).astype(np.float64)
    sums = np.add.reduceat(window_bins * bins.rank_scores, bins.starts, axis=1)
    return MeanRanks(sums / np.maximum(n, 1.0), n)


def learn_mean_variation(bins: PsiBins, windows: Sequence[MeanRanks]) -> tuple[FloatArray, FloatArray]:
    """Return σ and r of each group's windows, (G,); σ is NaN with fewer than `ROUGH_WINDOWS`.

    Args:
        windows: those of training, in the order of time, in chunks.
    """
    nothing = np.zeros((0, bins.n_groups))
    d = np.concatenate([nothing, *(chunk.d for chunk in windows)])
    n = np.concatenate([nothing, *(chunk.n for chunk in windows)])
    used = n > 0
    count = used.sum(axis=0)
    k = np.maximum(count, 2).astype(np.float64)
    from_mean = np.where(used, d - np.where(used, d, 0.0).sum(axis=0) / k, 0.0)
    observed = (from_mean**2).sum(axis=0) / (k - 1.0)
    by_chance = _rank_variance(bins) * np.where(used, 1.0 / np.maximum(n, 1.0), 0.0).sum(axis=0) / k
    level = np.maximum(observed - by_chance, 0.0)
    pairs = np.maximum((used[1:] & used[:-1]).sum(axis=0), 1)
    lag = (from_mean[1:] * from_mean[:-1]).sum(axis=0) / pairs / np.maximum(level, 1e-300)
    # An autocorrelation that is estimated around the mean of k windows is too small by (1 + 3r)/k.
    r = np.clip(lag + (1.0 + 3.0 * np.clip(lag, 0.0, 1.0)) / k, 0.0, MAX_AUTOCORRELATION)
    r = np.where(level > 0.0, r, 0.0)
    around_mean = np.maximum(1.0 - (_variance_factor(r, k) - 1.0) / (k - 1.0), LEAST_VARIANCE)
    return np.where(count >= ROUGH_WINDOWS, np.sqrt(level / around_mean), np.nan), r


def mean_rank_p(bins: PsiBins, ranks: MeanRanks, window: Window, windows: Sequence[Window]) -> FloatArray:
    """Return p of the hypothesis that windows have the mean rank of training, (W, G); NaN if it is not known.

    Args:
        windows: all of the contract, for whose lengths the baseline has variations.
    """
    if not bins.n_groups:
        return ranks.d
    base = base_window(window, windows)
    length = 1.0 if base is window else window.length_s / base.length_s
    (sigma, r), k = bins.mean_variation(base.name), bins.training_windows(base.name)
    k, m = np.maximum(k, 2.0), np.maximum(bins.values, 1)
    of_level = sigma**2 * (_variance_factor(r, length) / length + _variance_factor(r, k) / k)
    by_chance = _rank_variance(bins) * (1.0 / np.maximum(ranks.n, 1.0) + 1.0 / m + bins.noise)
    variance = of_level + by_chance
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.maximum(k * (1.0 - r**2) / (1.0 + r**2) - 1.0, 1.0) * (variance / of_level) ** 2
        t = ranks.d / np.sqrt(variance)
    return np.where(ranks.n > 0, 2.0 * stdtr(df, -np.abs(t)), np.nan)


def base_window(window: Window, windows: Sequence[Window]) -> Window:
    """Return the shortest window of a day or more of which the given one is a multiple; else the window itself."""
    if window.last or window.length_s <= DAY_S:
        return window
    parts = [
        each
        for each in windows
        if not each.last and DAY_S <= each.length_s < window.length_s and window.length_s % each.length_s == 0
    ]
    return min(parts, key=lambda each: each.length_s, default=window)


def _rank_variance(bins: PsiBins) -> FloatArray:
    """Return Σ p_b·s_b² of training's values, (G,)."""
    if not bins.n_groups:
        return np.zeros(0)
    squares = np.add.reduceat(bins.base_bins * bins.rank_scores**2, bins.starts)
    return squares / np.maximum(bins.values, 1)


def _variance_factor(r: FloatArray, k: ArrayLike) -> FloatArray:
    """Return k·Var(mean of k)/Var(one) of an autoregressive series of order one with autocorrelation r."""
    count = np.asarray(k, np.float64)
    return (1.0 + r) / (1.0 - r) - 2.0 * r * (1.0 - r**count) / (count * (1.0 - r) ** 2)
