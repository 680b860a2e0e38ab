"""Quiet weeks whose metrics are beyond the margin of the rule `performance-drop` by chance."""

from __future__ import annotations

import numpy as np
import pytest

from alerts.templates.labels import RELATIVE_MARGIN
from sketches.performance.metric import difference
from tests.reference.false_alarms import Rng, errors_of_numbers, measured

MARGIN = 0.05
"""The default of `thresholds.rates.major`."""


@pytest.mark.parametrize("metric", ["accuracy", "auc", "log_loss", "mae"])
@pytest.mark.parametrize(("labels", "most"), [(50, 0.005), (100, 0.005), (200, 0.002), (500, 0.0), (5000, 0.0)])
@pytest.mark.parametrize("reference_size", [1, pytest.param(10, marks=pytest.mark.long)])
def test_quiet_weeks_are_not_beyond_the_margin(metric: str, labels: int, most: float, reference_size: int) -> None:
    rng: Rng = np.random.default_rng([labels, reference_size])
    measure = errors_of_numbers if metric == "mae" else measured
    window, reference = measure(rng, labels)[metric], measure(rng, labels * reference_size)[metric]
    change = difference(window, reference)
    if metric in ("accuracy", "auc"):
        is_beyond = -change.high > MARGIN
    else:
        is_beyond = change.low / np.abs(reference.value) > RELATIVE_MARGIN * MARGIN
    assert np.mean(is_beyond & window.enough & change.enough) <= most
