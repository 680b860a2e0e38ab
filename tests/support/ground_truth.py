"""Generated ground truth: hours of predictions whose outcome is known, and labels that come as labels do.

Of the predictions a tenth never gets a label. The others get one after six hours on average (exponential), some before
the prediction itself; some labels are wrong at first and corrected, half of these at the same `at` and so by the
offset alone; and some predictions get one more, wrong one beyond the horizon. What holds by these rules is worked out
here, one prediction after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf

from tests.support.scoring import HOUR_MS, START_MS
from tests.support.warehouse import columns
from warehouse.client import Client
from warehouse.tables import insert_columns

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

HOURS = 200
"""Number of windows; each is a repetition."""
HORIZON_H, MEAN_DELAY_H = 48, 6.0
NOW_MS = START_MS + (HOURS + 1) * HOUR_MS
NEVER, EARLY, REPEATED, LATE = 0.1, 0.05, 0.1, 0.05
"""Shares of the predictions."""


@dataclass(frozen=True)
class Truth:
    """Predictions and their known labels at `NOW_MS`, as arrays by prediction."""

    at_ms: IntArray
    hour: IntArray
    effective_labels: FloatArray
    """The effective label, 0 or 1; NaN if there is none."""
    first_age_s: FloatArray
    """Age of the first label within the horizon; ∞ if there is none."""
    counts: dict[str, int]
    """Number of labels by kind."""

    def known(self, hours: range) -> NDArray[np.bool_]:
        return (self.hour >= hours.start) & (self.hour < hours.stop) & ~np.isnan(self.effective_labels)

    def maturity(self, edges: FloatArray) -> tuple[FloatArray, float]:
        """Return the share of labels that arrive by each age, and coverage: Kaplan–Meier estimates by scipy.

        As for the learned curve, ages count in bins, and a prediction is observed up to the age bin of the youngest
        prediction of its window.
        """
        own = np.searchsorted(edges, NOW_MS / 1000 - START_MS / 1000 - (self.hour + 1) * 3600, "right") - 1
        came = np.searchsorted(edges, self.first_age_s, "right") - 1
        arrived = came < own
        curve = ecdf(CensoredData(uncensored=(came[arrived] + 1.0).tolist(), right=own[~arrived].tolist())).cdf
        reached = curve.evaluate(np.arange(edges.size))
        return reached / reached[-1], float(reached[-1])


def generate(
    client: Client, rng: np.random.Generator, per_hour: int, outputs: Callable[[int], tuple[dict[str, Any], FloatArray]]
) -> Truth:
    """Write predictions and labels of two classes; `outputs` gives columns of n predictions, and the truth of each."""
    n = HOURS * per_hour
    at_ms = START_MS + np.sort(rng.integers(0, HOURS * HOUR_MS, n))
    output, truth = outputs(n)
    ids = [f"e{i}" for i in range(n)]
    whole = {"model": ["m"] * n, "version": ["1"] * n, "id": ids, "at": at_ms, "received_at": at_ms}
    insert_columns(client, "predictions", columns("predictions", n, **whole, **output, offset=np.arange(n)))

    labels = _labels(rng, at_ms, truth)
    m = len(labels)
    label_ms = np.array([each[0] for each in labels])
    whole = {"model": ["m"] * m, "id": [ids[i] for _, i, _ in labels], "at": label_ms, "received_at": label_ms}
    whole |= {"label": ["true" if value else "false" for _, _, value in labels], "label_type": ["bool"] * m}
    # Rows and inserts arrive in any order; offsets determine the last one.
    order = rng.permutation(m)
    label_columns = columns("labels", m, **whole, offset=np.arange(m))
    insert_columns(client, "labels", {name: [values[i] for i in order] for name, values in label_columns.items()})
    return _known(at_ms, labels)


def _labels(rng: np.random.Generator, at_ms: IntArray, truth: FloatArray) -> list[tuple[int, int, float]]:
    """Return time, prediction and value of the labels that have arrived, in the order of arrival."""
    kind = rng.random(len(at_ms))
    came: list[tuple[int, int, float]] = []
    for i, (at, value) in enumerate(zip(at_ms.tolist(), truth.tolist(), strict=True)):
        if kind[i] < NEVER:
            continue
        time_ms = at + int(rng.exponential(MEAN_DELAY_H * HOUR_MS))
        if kind[i] < NEVER + EARLY:
            time_ms = at - int(rng.integers(1, HOUR_MS))
        elif kind[i] < NEVER + EARLY + REPEATED:
            came.append((time_ms, i, 1 - value))
            time_ms += int(rng.choice([0, 60_000]))
        elif kind[i] < NEVER + EARLY + REPEATED + LATE:
            came.append((at + HORIZON_H * HOUR_MS + int(rng.integers(1, 12 * HOUR_MS)), i, 1 - value))
        came.append((time_ms, i, value))
    # The sort is stable, so a correction at the same time stays last.
    return sorted((each for each in came if each[0] <= NOW_MS), key=lambda each: each[0])


def _known(at_ms: IntArray, labels: Sequence[tuple[int, int, float]]) -> Truth:
    effective_labels = np.full(len(at_ms), np.nan)
    first = np.full(len(at_ms), np.inf)
    counts = dict.fromkeys(("early", "corrections", "late"), 0)
    for time_ms, i, value in labels:
        age_ms = time_ms - int(at_ms[i])
        if age_ms > HORIZON_H * HOUR_MS:
            counts["late"] += 1
            continue
        counts["early"] += age_ms < 0
        counts["corrections"] += not math.isnan(effective_labels[i])
        effective_labels[i] = value
        first[i] = min(first[i], max(age_ms, 0) / 1000)
    counts["labelled"] = int((~np.isnan(effective_labels)).sum())
    counts["unlabelled"] = len(at_ms) - counts["labelled"]
    return Truth(at_ms, (at_ms - START_MS) // HOUR_MS, effective_labels, first, counts)
