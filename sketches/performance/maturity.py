"""Label maturity: share of all labels that arrive by a given age, learned while labels arrive.

Predictions are followed from age 0 to the horizon; younger ones to their own age. So the share labelled by age is
Kaplan and Meier's estimate on counts,

    F(a) = 1 − Π (1 − h_k),   h_k = d_k / r_k,

with r_k the predictions without a label at the start of age bin k that are old enough to be followed to its end, and
d_k those of them whose label arrived in it. Coverage is F(horizon), maturity F(a) / F(horizon). Variances are
Greenwood's; because d ln(1 − h_k) are independent, that of the ratio m is

    Var m = Σ_{l ≤ k} v_l (S_k − m S_K)² / F_K² + Σ_{l > k} v_l (m S_K)² / F_K²,   v_l = d_l / (r_l (r_l − d_l)).

Sources: Kaplan and Meier (1958), JASA 53, 457–481; Greenwood (1926).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.performance.metric import ENOUGH, MetricEstimate, checked_phi, on_logit

FloatArray = NDArray[np.float64]

FIRST_S = 60.0
PER_DECADE = 10


def age_edges(horizon_s: float) -> FloatArray:
    """Return the edges of age bins in whole seconds: 0, then from a minute to the horizon, about ten per decade.

    Bin k holds edges[k] ≤ age < edges[k + 1]; there are len(edges) − 1 bins.

    Raises:
        ValueError: if the horizon is not longer than a minute.
    """
    if not FIRST_S < horizon_s < np.inf:
        raise ValueError(f"a label's horizon must be longer than {FIRST_S:.0f} s, not {horizon_s}")
    bins = int(np.ceil(PER_DECADE * np.log10(horizon_s / FIRST_S)))
    inner = np.rint(np.geomspace(FIRST_S, horizon_s, bins + 1))
    return np.concatenate(([0.0], np.unique(inner[inner < horizon_s]), [horizon_s]))


@dataclass(frozen=True, slots=True)
class Maturity:
    """Learned maturity curve of one or many models and slices (leading shape)."""

    edges: FloatArray
    """Ages in seconds, shape (bins + 1,)."""
    share: MetricEstimate
    """Share of all labels that arrive by each edge, shape (..., bins + 1)."""
    coverage: MetricEstimate
    """Share of predictions that are labelled within the horizon, shape (...). Until 20 predictions (n/φ) have passed
    the horizon, neither figure is enough: the labels so far count as all labels, so that maturity is too high and
    coverage too low; the interval of coverage then extends to 1, that of maturity down to its value if every prediction
    still got a label."""

    def maturity(self, age_s: ArrayLike) -> MetricEstimate:
        """Return the share by an age, shape (..., *age_s.shape); interpolated linearly in log age between edges."""
        ages = np.clip(np.asarray(age_s, np.float64), 0.0, self.edges[-1])
        right = np.clip(np.searchsorted(self.edges, ages, "right"), 1, self.edges.size - 1)
        start, end = _scale(self.edges[right - 1]), _scale(self.edges[right])
        part = (_scale(ages) - start) / (end - start)
        value, low, high = (
            curve[..., right - 1] + part * (curve[..., right] - curve[..., right - 1])
            for curve in (self.share.value, self.share.low, self.share.high)
        )
        return MetricEstimate(value, low, high, self.share.enough[..., right])

    def mature_age(self, share: float) -> FloatArray:
        """Return the age in seconds by which a share arrives, shape (...); ∞ without enough data.

        Raises:
            ValueError: if the share does not lie in (0, 1].
        """
        if not 0.0 < share <= 1.0:
            raise ValueError(f"a share of labels must be above 0 and at most 1, not {share}")
        curve = np.nan_to_num(self.share.value)
        reached = curve >= share
        right = np.maximum(reached.argmax(axis=-1), 1)
        lower, upper = (np.take_along_axis(curve, at[..., None], axis=-1)[..., 0] for at in (right - 1, right))
        part = (share - lower) / np.where(upper > lower, upper - lower, 1.0)
        start, end = _scale(self.edges[right - 1]), _scale(self.edges[right])
        age = _age(start + np.clip(part, 0.0, 1.0) * (end - start))
        return np.where(reached.any(axis=-1) & self.coverage.enough, age, np.inf)


def learn_maturity(predictions: ArrayLike, labels: ArrayLike, edges: ArrayLike, *, phi: ArrayLike = 1.0) -> Maturity:
    """Learn the curve from the arrival of labels.

    Args:
        predictions: counts by their present age, labelled or not, shape (..., bins + 1); the last are at or past
            the horizon.
        labels: counts of first labels by the prediction's present age and the age of arrival, shape (..., bins + 1,
            bins), none in a bin beyond the prediction's own; labels past the horizon are excluded.
        edges: from `age_edges`.
        phi: overdispersion, at least 1, broadcast against the leading shape.

    Raises:
        ValueError: if shapes do not fit, φ is under 1, or there are more labels than predictions of an age.
    """
    ages = np.asarray(edges, np.float64)
    bins = ages.size - 1
    counts, arrivals = np.asarray(predictions, np.float64), np.asarray(labels, np.float64)
    phis = checked_phi(phi)
    if counts.shape[-1:] != (bins + 1,) or arrivals.shape != (*counts.shape, bins):
        shapes = f"(..., {bins + 1}) and (..., {bins + 1}, {bins})"
        raise ValueError(
            f"predictions and labels of {bins} age bins must have the shapes {shapes}, not {counts.shape} and "
            f"{arrivals.shape}"
        )
    if np.any(arrivals.sum(axis=-1) > counts):
        raise ValueError("more labels than predictions of one age; count the first label of each prediction only")
    followed = np.arange(bins + 1)[:, None] > np.arange(bins)
    waiting = counts[..., None] - (np.cumsum(arrivals, axis=-1) - arrivals)
    at_risk = (waiting * followed).sum(axis=-2)
    arrived = (arrivals * followed).sum(axis=-2)
    left = np.cumprod(1.0 - arrived / np.where(at_risk > 0.0, at_risk, 1.0), axis=-1)
    variance = arrived / np.where(at_risk > 0.0, at_risk, 1.0) / np.maximum(at_risk - arrived, 0.5)
    enough = (counts[..., -1] / phis >= ENOUGH) & (arrived.sum(axis=-1) / phis >= ENOUGH)
    coverage = _coverage(left[..., -1], variance, counts[..., -1], enough, phis)
    return Maturity(ages, _share(left, variance, arrived, coverage, phis), coverage)


def _coverage(
    unlabelled: FloatArray, variance: FloatArray, rows: FloatArray, enough: NDArray[np.bool_], phis: FloatArray
) -> MetricEstimate:
    value = 1.0 - unlabelled
    spread = unlabelled**2 * variance.sum(axis=-1)
    estimate = on_logit(value, spread * phis, np.maximum(rows / phis, 1.0), enough)
    return MetricEstimate(estimate.value, estimate.low, np.where(enough, estimate.high, 1.0), enough)


def _share(
    left: FloatArray, variance: FloatArray, arrived: FloatArray, coverage: MetricEstimate, phis: FloatArray
) -> MetricEstimate:
    """Return maturity at each edge, 0 at the first and 1 at the last."""
    last = left[..., -1:]
    total = np.where(last < 1.0, 1.0 - last, np.nan)
    value = (1.0 - left) / total
    before = np.cumsum(variance, axis=-1)
    after = before[..., -1:] - before
    spread = (before * (left - value * last) ** 2 + after * (value * last) ** 2) / total**2
    rows = arrived.sum(axis=-1, keepdims=True) / phis[..., None]
    enough = np.broadcast_to(coverage.enough[..., None], value.shape)
    estimate = on_logit(value, spread * phis[..., None], rows, enough)
    # While coverage is unknown, every prediction may still get a label.
    low = np.where(enough, estimate.low, np.minimum(estimate.low, estimate.low * total))
    ends = np.where(np.isnan(value[..., -1:]), np.nan, 1.0)
    return MetricEstimate(
        np.concatenate((0.0 * ends, value), axis=-1),
        np.concatenate((0.0 * ends, low[..., :-1], np.where(enough[..., -1:], ends, low[..., -1:])), axis=-1),
        np.concatenate((0.0 * ends, estimate.high[..., :-1], ends), axis=-1),
        np.concatenate((enough[..., :1], enough), axis=-1),
    )


def _scale(age_s: FloatArray) -> FloatArray:
    """Return age on the interpolation scale: linear within the first minute, then logarithmic."""
    return np.where(age_s < FIRST_S, age_s / FIRST_S, 1.0 + np.log(np.maximum(age_s, FIRST_S) / FIRST_S))


def _age(scale: FloatArray) -> FloatArray:
    return np.where(scale < 1.0, scale * FIRST_S, FIRST_S * np.exp(np.maximum(scale - 1.0, 0.0)))
