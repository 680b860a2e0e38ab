"""The promises about drift of judges, by simulation of `tests.reference.anchors`."""

from __future__ import annotations

import numpy as np
import pytest

from tests.reference.anchors import PAIRINGS, RATES, RUNS, SOON, Kind, first_tickets


@pytest.mark.parametrize("kind", ["usual", "even"])
@pytest.mark.parametrize("rate", RATES)
def test_few_judges_without_drift_are_reported(kind: Kind, rate: float) -> None:
    assert np.mean(first_tickets(kind, rate, 0.0) <= RUNS) <= 0.02


@pytest.mark.parametrize(
    ("kind", "rate", "anchors"),
    [*(("usual", rate, 100) for rate in RATES), ("even", 0.9, 100), ("even", 0.95, 100), ("even", 0.8, 250)],
)
def test_a_loss_of_5_percent_is_found_within_20_runs(kind: Kind, rate: float, anchors: int) -> None:
    assert np.mean(first_tickets(kind, rate, 0.05, anchors=anchors) <= SOON) >= 0.9


def test_a_judge_whose_verdicts_vary_much_needs_more_anchors() -> None:
    """The page states this limit; if this test fails, the method has become better than the page says."""
    assert np.mean(first_tickets("even", 0.7, 0.05) <= SOON) < 0.5


def test_a_run_of_the_bank_must_not_be_used_again() -> None:
    assert np.mean(first_tickets("even", 0.9, 0.0, pairing=PAIRINGS[1]) <= RUNS) > 0.2
