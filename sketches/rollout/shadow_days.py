"""Daily sums of the pairs of a candidate and its primary, by the local days of the model's users."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

COUNTED = (
    *("requests", "pairs", "compared", "agreed", "labelled", "both_right", "primary_right", "candidate_right"),
    *("missing_labelled", "missing_right", "scored", "loss_primary", "loss_candidate", "brier_primary"),
    *("brier_candidate", "error_primary", "error_candidate", "timed", "log_latency"),
    *("copy_compared", "copy_agreed", "copy_candidate_agreed", "slow_primary", "slow_candidate", "costed"),
)
"""Sums over pairs."""
COPY_SUMS = ("copy_compared", "copy_agreed", "copy_candidate_agreed")
"""Those of a second copy of the primary."""
SLO_TIMED = "slo_timed"
"""Key of the timed pairs that were compared with the latency target."""
HISTOGRAMS = ("scores_primary", "scores_candidate", "latencies_primary", "latencies_candidate")
PLANNED = ("primary-failed", "skipped-sample")
"""Reasons of missing pairs that are no failure of the candidate."""


@dataclass(frozen=True, slots=True)
class ShadowDays:
    """Sums of one slice over t local days, in order."""

    slice: str
    days: tuple[str, ...]
    """Dates, such as `2026-03-29`."""
    ended: NDArray[np.bool_]
    """Shape (t,): whether the day is over, by the newest score window."""
    mature: NDArray[np.bool_]
    """Shape (t,): whether the labels of the whole day are mature."""
    sums: dict[str, FloatArray]
    """By name of `COUNTED`, and of `SLO_TIMED`, each of shape (t,)."""
    missing: dict[str, FloatArray]
    """Requests without a pair by reason, each of shape (t,)."""
    histograms: dict[str, FloatArray] = field(default_factory=dict)
    """By name of `HISTOGRAMS`: labelled rows of (t, bins, 3), as in `sketches.rollout.planned_auc`, with 0 for the
    sum of scores; latencies of (t, 481), as in `sketches.rollout.exceedances`. Empty without any, and for slices."""
    spent_primary: dict[str, FloatArray] = field(default_factory=dict)
    """Sums of the primary's metrics that have a price, over costed pairs, each of shape (t,)."""
    spent_candidate: dict[str, FloatArray] = field(default_factory=dict)
    """The same of the candidate."""
