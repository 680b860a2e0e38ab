"""Rates of faults from graded scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph_server.sketches.judges.fault_rate import RATE_REASON_NAMES
from barograph_server.sketches.judges.graded import GOLD_SUMS, gold_sums, graded_rate, other_sums
from barograph_server.sketches.judges.strata import strata_rate

LABELS = np.repeat([1, 0, 1, 0], [30, 10, 4, 156])
SCORES = np.repeat([1.0, 1.0, 0.0, 0.0], [30, 10, 4, 156])
OTHERS = np.repeat([1.0, 0.0], [860, 3940])


def test_golden_rate() -> None:
    gold = np.stack((gold_sums(LABELS, SCORES), np.zeros(GOLD_SUMS)))
    result = graded_rate(gold, other_sums(OTHERS))
    rate = result.judged.rate
    assert float(result.tuning[0]) == pytest.approx(0.696, abs=1e-9)
    golden = (0.1555, 0.12144226356, 0.18955773644)
    assert (rate.value[0], rate.low[0], rate.high[0]) == pytest.approx(golden, abs=1e-9)
    assert RATE_REASON_NAMES[int(rate.reason[0])] == ""
    assert not result.judged.judge_adds_nothing[0]
    # Windows are computed at once, and one may have no gold.
    assert np.isnan(rate.value[1])


@given(
    st.integers(2, 100).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    st.integers(2, 100).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    st.integers(1, 2000),
    st.integers(1, 2000),
)
@settings(max_examples=50)
def test_yes_and_no_give_the_rate_of_strata(
    flagged: tuple[int, int], unflagged: tuple[int, int], more_flagged: int, more_unflagged: int
) -> None:
    (g1, f1), (g0, f0) = flagged, unflagged
    gold = np.array([g1 + g0, f1 + f0, g1, g1, f1])
    others = np.array([more_flagged + more_unflagged, more_flagged, more_flagged])
    rows = g1 + g0 + more_flagged + more_unflagged
    expected = strata_rate(rows, g1 + more_flagged, g1, f1, g0, f0).rate.value
    value = graded_rate(gold, others).judged.rate.value
    assert float(value) == pytest.approx(float(expected), abs=1e-9)


def test_calibrated_scores_are_averaged_over_all_answers() -> None:
    """With Cov(y, f) = Var(f) the tuned λ is the mean of f over gold and others, corrected by the mean of y − f."""
    rng = np.random.default_rng(63)
    grid = np.repeat([0.2, 0.8], 500)
    labels = np.repeat([1, 0, 1, 0], [100, 400, 400, 100])
    others = rng.choice([0.2, 0.8], size=3000, p=[0.7, 0.3])
    result = graded_rate(gold_sums(labels, grid), other_sums(others))
    assert float(result.tuning) == pytest.approx(1.0 / (1.0 + 1000 / 3000), abs=1e-9)
    over_all = np.concatenate((grid, others)).mean() + (labels - grid).mean()
    assert float(result.judged.rate.value) == pytest.approx(over_all, abs=1e-9)


def test_scores_that_say_nothing_add_nothing() -> None:
    constant = graded_rate(gold_sums(LABELS, np.full(200, 0.7)), other_sums(np.full(4800, 0.7)))
    assert float(constant.tuning) == 0.0
    assert float(constant.judged.rate.value) == pytest.approx(0.17)
    balanced = np.tile([0.2, 0.8], 100)
    unrelated = graded_rate(gold_sums(np.repeat([1, 0], [34, 166]), balanced), other_sums(np.tile([0.2, 0.8], 2400)))
    assert float(unrelated.tuning) == pytest.approx(0.0, abs=1e-12)
    assert float(unrelated.judged.rate.high - unrelated.judged.rate.low) == pytest.approx(
        2 * 1.959964 * np.sqrt(0.17 * 0.83 / 199), rel=1e-6
    )


def test_a_rate_is_insufficient_for_a_reason() -> None:
    for faulty, sound, margin, reason in (
        (0, 0, None, "no gold"),
        (20, 29, None, "little gold"),
        (9, 91, None, "rare class"),
        (91, 9, None, "rare class"),
        (10, 90, None, ""),
        (10, 90, 0.03, "wide interval"),
    ):
        gold = gold_sums([1] * faulty + [0] * sound, np.linspace(0.0, 1.0, faulty + sound))
        rate = graded_rate(gold, other_sums(np.linspace(0.0, 1.0, 1000)), margin=margin).judged.rate
        assert RATE_REASON_NAMES[int(rate.reason)] == reason, (faulty, sound)


def test_gold_that_is_no_random_sample_is_reported() -> None:
    scores = np.linspace(0.0, 1.0, 1000)
    labels = (np.arange(200) % 3 == 0).astype(np.int64)
    result = graded_rate(gold_sums(labels, scores[800:]), other_sums(scores[:800]))
    assert RATE_REASON_NAMES[int(result.judged.rate.reason)] == "uneven gold"
    assert np.isnan(result.judged.gold_only.value)


def test_wrong_input_is_rejected() -> None:
    with pytest.raises(ValueError, match="one score per label"):
        gold_sums([1, 0], [0.5])
    with pytest.raises(ValueError, match=r"1 \(faulty\) or 0 \(sound\)"):
        gold_sums([1, 2], [0.5, 0.5])
    with pytest.raises(ValueError, match="finite numbers"):
        other_sums([0.5, np.nan])
    with pytest.raises(ValueError, match="Σy must lie between 0 and n"):
        graded_rate([10.0, 11.0, 5.0, 5.0, 5.0], [10.0, 5.0, 5.0])
    with pytest.raises(ValueError, match=r"sums of gold have the shape \(3,\); the last axis must have 5"):
        graded_rate([10.0, 5.0, 5.0], [10.0, 5.0, 5.0])
    with pytest.raises(ValueError, match="sums of others must be finite, and their number of answers not negative"):
        graded_rate([10.0, 5.0, 5.0, 5.0, 5.0], [-1.0, 5.0, 5.0])
