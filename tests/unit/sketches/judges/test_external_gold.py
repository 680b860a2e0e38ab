"""Rates of faults from gold of other traffic."""

from __future__ import annotations

import numpy as np
import pytest

from barograph_server.sketches.judges.external_gold import external_gold_rate
from barograph_server.sketches.judges.fault_rate import RATE_REASON_NAMES

GOLDEN = (5000, 900, 50, 45, 100, 92)


def test_golden_rate() -> None:
    result = external_gold_rate(*GOLDEN)
    golden = (0.121951219512, 0.0480850677921, 0.175752004773)
    assert (result.rate.value, result.rate.low, result.rate.high) == pytest.approx(golden, abs=1e-9)
    assert (float(result.sensitivity), float(result.specificity)) == (0.9, 0.92)
    assert RATE_REASON_NAMES[int(result.rate.reason)] == ""
    # A perfect judge leaves its own rate.
    perfect = external_gold_rate(10**6, 20_000, 10**5, 10**5, 10**5, 10**5).rate
    assert float(perfect.value) == pytest.approx(0.02)
    assert 0.019 < perfect.low < 0.02 < perfect.high < 0.021


def test_a_rate_is_insufficient_for_a_reason() -> None:
    for values, margin, reason, has_value in (
        ((5000, 900, 0, 0, 100, 92), None, "no gold", False),
        ((5000, 900, 50, 45, 0, 0), None, "no gold", False),
        ((0, 0, 50, 45, 100, 92), None, "no gold", False),
        ((5000, 900, 20, 18, 29, 27), None, "little gold", True),
        ((5000, 900, 20, 18, 30, 28), None, "", True),
        ((5000, 3650, 18, 15, 82, 24), None, "weak judge", True),
        ((5000, 900, 50, 20, 100, 60), None, "weak judge", False),
        (GOLDEN, 0.06, "wide interval", True),
        (GOLDEN, 0.07, "", True),
    ):
        rate = external_gold_rate(*values, margin=margin).rate
        assert RATE_REASON_NAMES[int(rate.reason)] == reason, values
        assert np.isfinite(rate.value) == has_value, values


def test_counts_that_contradict_one_another_are_rejected() -> None:
    for values, text in (
        ((100, 101, 5, 5, 5, 5), "flagged answers than judged ones"),
        ((100, 10, 5, 6, 5, 5), "flagged faulty answers in gold"),
        ((100, 10, 5, 5, 5, 6), "unflagged sound answers in gold"),
        ((100, 10, 5, -1, 5, 5), "faulty_flagged must be whole numbers"),
    ):
        with pytest.raises(ValueError, match=text):
            external_gold_rate(*values)
