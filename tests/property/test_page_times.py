"""The predicted time to detection agrees with the real verdicts on simulated traffic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sketches.detection.delay import QUANTILES
from tests.reference.page_times import CHANGES, Change, predicted_hours, simulated_hours

TOLERANCE_HOURS = 1.5
"""One hop, and the error of a quantile of 400 runs."""
ENOUGH = ((500, 1), (5_000, 1), (5_000, 30), (100_000, 300))
"""Traffic with at least 150 independent events in a window; with fewer, predictions are up to three hours early."""


@pytest.mark.parametrize(("events", "phi"), ENOUGH)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name.replace(" ", "-"))
def test_the_prediction_is_within_a_hop(change: Change, events: int, phi: int) -> None:
    predicted = predicted_hours(change, events, phi)
    hours = np.quantile(simulated_hours(change, events, phi, np.random.default_rng(22)), QUANTILES, method="lower")
    compared = [(p, s) for p, s in zip(predicted, hours, strict=True) if math.isfinite(p)]
    assert compared
    assert all(abs(p - s) <= TOLERANCE_HOURS for p, s in compared), (predicted, hours)


def test_what_is_predicted_never_to_be_detected_seldom_is() -> None:
    small = CHANGES[0]
    assert predicted_hours(small, 50, 1)[1] == math.inf
    hours = simulated_hours(small, 50, 1, np.random.default_rng(22))
    assert (hours <= 24).mean() < 0.5
