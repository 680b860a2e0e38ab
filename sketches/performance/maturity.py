"""How many of the labels that ever come have come by a given age, learned from labels while they arrive.

Predictions are followed from 0 to the horizon; one that is younger is followed to its own age. So the share labelled
by age is Kaplan and Meier's estimate, F(a) = 1 − Π (1 − h_k), where h_k is the share of the predictions still without
label at the start of age bin k, and old enough to be followed to its end, that get theirs in it. Coverage is F at the
horizon, maturity F(a) / F(horizon).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sketches.performance.metric import Metric

FloatArray = NDArray[np.float64]

FIRST_S = 60.0
PER_DECADE = 10


def age_edges(horizon_s: float) -> FloatArray:
    """Ages in seconds that bound the age bins: 0, then from a minute to the horizon, ten per decade or a few more.

    Bin k holds edges[k] ≤ age < edges[k + 1]; there are len(edges) − 1 bins.

    Raises:
        ValueError: if the horizon is not longer than a minute.
    """
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Maturity:
    """The learned curve, for one or many models and slices (leading shape)."""

    edges: FloatArray
    """Ages in seconds, shape (bins + 1,)."""
    share: Metric
    """Of the labels that ever come, those that have come by each edge, shape (..., bins + 1)."""
    coverage: Metric
    """Share of predictions that are ever labelled within the horizon, shape (...)."""

    def maturity(self, age_s: ArrayLike) -> Metric:
        """The share that has come by an age, shape (..., *age_s.shape); straight between edges in log age."""
        raise NotImplementedError

    def mature_age(self, share: float) -> FloatArray:
        """The age in seconds by which a share has come, shape (...); ∞ where it is not known to be reached."""
        raise NotImplementedError


def learn_maturity(predictions: ArrayLike, labels: ArrayLike, edges: ArrayLike, *, phi: ArrayLike = 1.0) -> Maturity:
    """Learn the curve from the run-off of labels.

    Args:
        predictions: by their present age, labelled or not, shape (..., bins + 1); the last are at or past the
            horizon.
        labels: first labels by the prediction's present age and the age at which they came, shape (..., bins + 1,
            bins); those that came past the horizon are left out.
        edges: as `age_edges` makes them.
        phi: overdispersion, at least 1, broadcast against the leading shape.

    Raises:
        ValueError: if shapes do not fit, φ is under 1, or there are more labels than predictions of an age.
    """
    raise NotImplementedError
