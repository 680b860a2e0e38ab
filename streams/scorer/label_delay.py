"""Label delay of one model: the share of labels that has arrived by an age, learned from the model's own labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from barograph.contract import Contract
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.performance.maturity import Maturity, age_edges, learn_maturity
from barograph_server.streams.scorer.windows import EventClock
from barograph_server.warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]

SPREAD = 24
"""Number of points of a window at which its predictions are assumed to be made."""
LEARNED_DAYS = 60
"""The curve is learned from windows that passed the horizon within this many days, and from younger ones."""


@dataclass(frozen=True, slots=True)
class LabelDelayCurve:
    """The horizon up to which labels are expected, and the share that has arrived by each age."""

    horizon_s: float
    mature_share: float
    curve: Maturity | None = None
    """None until a label has arrived."""

    def maturity(self, age_s: FloatArray) -> FloatArray:
        """Return the share of all expected labels that has arrived by an age, NaN if it is not known yet."""
        if self.curve is None:
            return np.where(age_s >= self.horizon_s, 1.0, np.nan)
        share = self.curve.maturity(age_s)
        return np.where(age_s >= self.horizon_s, 1.0, np.where(share.enough, share.value, np.nan))

    def arrived_shares(self, ages: Sequence[float], age_s: FloatArray, length_s: float) -> FloatArray:
        """Return the arrived share of the labels whose delay is between two ages, per window.

        The predictions of a window have different ages, spread evenly over its length. Between two ages labels arrive
        by the learned curve.

        Args:
            ages: ascending, in seconds, shape (K,). The first share is that of labels up to the first age.
            age_s: age of the youngest prediction of each window, shape (W,).

        Returns:
            Shape (W, K), decreasing along K.
        """
        ends = np.array([0.0, *ages])
        own = (age_s[:, None] + length_s * (np.arange(SPREAD) + 0.5) / SPREAD)[..., None]
        reached, edges = (own, ends) if self.curve is None else (self._by_curve(own), self._by_curve(ends))
        rise = np.diff(edges)
        share = np.clip((reached - edges[:-1]) / np.where(rise > 0.0, rise, 1.0), 0.0, 1.0)
        shares: FloatArray = np.where(rise > 0.0, share, own >= ends[1:]).mean(axis=1)
        return shares

    def _by_curve(self, age_s: FloatArray) -> FloatArray:
        assert self.curve is not None
        return self.curve.maturity(age_s).value

    def is_mature(self, age_s: ArrayLike) -> NDArray[np.bool_]:
        """Return whether the contract's share has arrived by an age, or no more labels are expected."""
        ages = np.asarray(age_s, dtype=np.float64)
        return (ages >= self.horizon_s) | (np.nan_to_num(self.maturity(ages)) >= self.mature_share)


def learn_label_delay(contract: Contract, rules: Rules, label_ages: pa.Table, clock: EventClock) -> LabelDelayCurve:
    """Learn the curve.

    Args:
        label_ages: rows of `warehouse.scoring.state.label_ages`.
        clock: the current event time. Predictions count as old as the youngest of their window.
    """
    assert contract.label is not None
    horizon_s = rules.horizon_ms / 1000
    edges = age_edges(horizon_s)
    bins = edges.size - 1
    predictions = np.zeros(bins + 1)
    labels = np.zeros((bins + 1, bins))
    for start, n, ages in zip(
        *(label_ages.column(name).to_pylist() for name in ("start", "predictions", "ages")), strict=True
    ):
        age_s = clock.age_s(start + rules.window_s)
        window_bin = int(np.searchsorted(edges, age_s, "right")) - 1
        predictions[window_bin] += n
        for age_bin, first in dict(ages).items():
            labels[window_bin, age_bin] += first
    if not labels.any():
        return LabelDelayCurve(horizon_s, contract.label.mature)
    return LabelDelayCurve(horizon_s, contract.label.mature, learn_maturity(predictions, labels, edges))


def maturity_row(
    rules: Rules, label_delay: LabelDelayCurve, label_ages: pa.Table, now_ms: int
) -> dict[str, Any] | None:
    """Return the row of `maturity` of a learned curve, or None if nothing is learned."""
    curve = label_delay.curve
    if curve is None:
        return None
    labels = sum(sum(dict(each).values()) for each in label_ages.column("ages").to_pylist())
    return {
        "model": rules.model,
        "basis": rules.basis,
        "ages_s": curve.edges.tolist(),
        "shares": curve.share.value.tolist(),
        "shares_low": curve.share.low.tolist(),
        "shares_high": curve.share.high.tolist(),
        "coverage": float(curve.coverage.value),
        "mature_age_s": float(curve.mature_age(label_delay.mature_share)),
        "predictions": int(sum(label_ages.column("predictions").to_pylist())),
        "labels": int(labels),
        "learned_at": now_ms,
    }
