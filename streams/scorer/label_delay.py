"""When labels come: the curve of maturity of one model, learned from its own labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from barograph.contract import Contract
from numpy.typing import ArrayLike, NDArray

from sketches.performance.maturity import Maturity, age_edges, learn_maturity
from streams.scorer.windows import Now
from warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]

SPREAD = 24
"""At so many points of a window its predictions are taken to be made."""
LEARNED_DAYS = 60
"""The curve is learned from windows that passed the horizon within so many days, and from younger ones."""


@dataclass(frozen=True, slots=True)
class LabelDelayCurve:
    """Until when labels are awaited, and how many have come by then."""

    horizon_s: float
    mature_share: float
    curve: Maturity | None = None
    """None until a label has come."""

    def maturity(self, age_s: FloatArray) -> FloatArray:
        """The share of the labels that ever come that has come by an age; NaN where it is not known yet."""
        if self.curve is None:
            return np.where(age_s >= self.horizon_s, 1.0, np.nan)
        share = self.curve.maturity(age_s)
        return np.where(age_s >= self.horizon_s, 1.0, np.where(share.enough, share.value, np.nan))

    def come(self, ages: Sequence[float], age_s: FloatArray, length_s: float) -> FloatArray:
        """Of the labels that take from one age to the next, the share that has come in each window.

        The predictions of a window are of different age, spread evenly over its length; within the time from one age
        to the next labels come by the learned curve.

        Args:
            ages: ascending, in seconds, shape (K,); the first share is that of the labels up to the first age.
            age_s: of the youngest prediction of each window, shape (W,).
            length_s: of the windows.

        Returns:
            Shape (W, K), falling with K.
        """
        ends = np.array([0.0, *ages])
        own = (age_s[:, None] + length_s * (np.arange(SPREAD) + 0.5) / SPREAD)[..., None]
        reached, marks = (own, ends) if self.curve is None else (self._by_curve(own), self._by_curve(ends))
        rise = np.diff(marks)
        part = np.clip((reached - marks[:-1]) / np.where(rise > 0.0, rise, 1.0), 0.0, 1.0)
        come: FloatArray = np.where(rise > 0.0, part, own >= ends[1:]).mean(axis=1)
        return come

    def _by_curve(self, age_s: FloatArray) -> FloatArray:
        assert self.curve is not None
        return self.curve.maturity(age_s).value

    def is_mature(self, age_s: ArrayLike) -> NDArray[np.bool_]:
        """Whether the contract's share has come by an age, or nothing more is awaited."""
        ages = np.asarray(age_s, dtype=np.float64)
        return (ages >= self.horizon_s) | (np.nan_to_num(self.maturity(ages)) >= self.mature_share)


def learn(contract: Contract, rules: Rules, came: pa.Table, now: Now) -> LabelDelayCurve:
    """Learn the curve.

    Args:
        contract: of the model.
        rules: of the model.
        came: rows of `warehouse.scoring.state.label_ages`.
        now: predictions are as old as the youngest of their window is.
    """
    assert contract.label is not None
    horizon_s = rules.horizon_ms / 1000
    nothing = LabelDelayCurve(horizon_s, contract.label.mature)
    edges = age_edges(horizon_s)
    bins = edges.size - 1
    predictions = np.zeros(bins + 1)
    labels = np.zeros((bins + 1, bins))
    for start, n, ages in zip(
        *(came.column(name).to_pylist() for name in ("start", "predictions", "ages")), strict=True
    ):
        age_s = now.age_s(start + rules.window_s)
        own = int(np.searchsorted(edges, age_s, "right")) - 1
        predictions[own] += n
        for age_bin, first in dict(ages).items():
            labels[own, age_bin] += first
    if not labels.any():
        return nothing
    return LabelDelayCurve(horizon_s, contract.label.mature, learn_maturity(predictions, labels, edges))


def row_of(rules: Rules, ages: LabelDelayCurve, came: pa.Table, now_ms: int) -> dict[str, Any] | None:
    """The row of `maturity` of a learned curve; None where there is none."""
    curve = ages.curve
    if curve is None:
        return None
    labels = sum(sum(dict(each).values()) for each in came.column("ages").to_pylist())
    return {
        "model": rules.model,
        "basis": rules.basis,
        "ages_s": curve.edges.tolist(),
        "shares": curve.share.value.tolist(),
        "shares_low": curve.share.low.tolist(),
        "shares_high": curve.share.high.tolist(),
        "coverage": float(curve.coverage.value),
        "mature_age_s": float(curve.mature_age(ages.mature_share)),
        "predictions": int(sum(came.column("predictions").to_pylist())),
        "labels": int(labels),
        "learned_at": now_ms,
    }
