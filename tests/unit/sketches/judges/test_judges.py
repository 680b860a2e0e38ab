import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph_server.evaluation.rates import label_errors_text
from barograph_server.sketches.drift.rates import wilson
from barograph_server.sketches.judges.agreement import MISSING, agreement
from barograph_server.sketches.judges.anchors import anchor_drift
from barograph_server.sketches.judges.fault_rate import RATE_REASON_NAMES, RateReason
from barograph_server.sketches.judges.label_errors import LEAST_TWICE, label_errors
from barograph_server.sketches.judges.strata import strata_rate, weighted_rate
from barograph_server.sketches.judges.trust import FEW_LABELS, LEAST_LABELS, NO_BETTER, WORSE, score_trust


def random_codes(seed: int, reviewers: int, items: int, accuracy: float, missing: float = 0.1) -> np.ndarray:
    """Return labels that are the true category with probability `accuracy`, and otherwise one of three at random."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=items)
    codes = np.where(rng.random((reviewers, items)) < accuracy, truth, rng.integers(3, size=(reviewers, items)))
    return np.where(rng.random(codes.shape) < missing, MISSING, codes)


def test_krippendorffs_example() -> None:
    """Four reviewers, twelve items, five categories."""
    reviewers = ("123321412---", "1233224125-3", "-3332342251-", "12332441251-")
    codes = [[MISSING if code == "-" else int(code) for code in each] for each in reviewers]
    result = agreement(codes)
    assert result.alpha == pytest.approx(113 / 152, abs=1e-12)
    assert round(result.alpha, 3) == 0.743
    assert result.items == 11
    assert np.isnan([result.low, result.high]).all()
    # The least agreement comes first.
    assert result.disagreements.tolist() == [5, 1, 7]


def test_perfect_systematic_and_undefined_agreement() -> None:
    perfect = agreement([[0, 1, 1, 2], [0, 1, 1, 2]])
    assert (perfect.alpha, perfect.disagreements.tolist()) == (1.0, [])
    assert agreement([[0, 1, 0, 1], [1, 0, 1, 0]]).alpha < 0.0
    # Without two categories or pairs it is undefined.
    for codes in ([[0, 0], [0, 0]], [[0, -1], [-1, 1]], np.full((2, 3), -1), np.zeros((0, 4), int)):
        assert np.isnan(agreement(codes).alpha)
    for wrong in ([0, 1, 1], [[0.0, 1.0]], [[0, -2]], [["a", "b"]]):
        with pytest.raises(ValueError, match="codes must"):
            agreement(wrong)


@given(st.integers(0, 10_000), st.floats(0.3, 0.95))
@settings(max_examples=25)
def test_alpha_equals_that_of_the_coincidence_matrix(seed: int, accuracy: float) -> None:
    codes = random_codes(seed, 4, 30, accuracy)
    matrix = np.zeros((3, 3))
    for item in codes.T:
        labels = item[item >= 0]
        for i, one in enumerate(labels):
            for j, other in enumerate(labels):
                if i != j:
                    matrix[one, other] += 1 / (len(labels) - 1)
    total, margins = matrix.sum(), matrix.sum(axis=1)
    expected = (total**2 - (margins**2).sum()) / (total - 1)
    assert agreement(codes).alpha == pytest.approx(1 - (total - np.trace(matrix)) / expected, abs=1e-9)


def test_the_interval_is_that_of_items_left_out_one_by_one() -> None:
    codes = random_codes(1, 3, 60, 0.6)
    result = agreement(codes)
    paired = np.flatnonzero((codes >= 0).sum(axis=0) >= 2)
    without = np.array([agreement(np.delete(codes, item, axis=1)).alpha for item in paired])
    error = np.sqrt((len(paired) - 1) * without.var())
    assert result.high - result.alpha == pytest.approx(2.0 * error, rel=0.02)
    assert result.alpha - result.low == pytest.approx(result.high - result.alpha, abs=1e-12)


@pytest.mark.long
def test_the_interval_covers_alpha() -> None:
    """Three reviewers, 100 items: of 200 intervals at least 180 contain the alpha of 100,000 items."""
    alpha = agreement(random_codes(0, 3, 100_000, 0.7)).alpha
    results = [agreement(random_codes(seed, 3, 100, 0.7)) for seed in range(1, 201)]
    assert sum(each.low <= alpha <= each.high for each in results) >= 180


def test_evidence_of_a_few_anchors_by_hand() -> None:
    # One lost anchor: the mean of 2 * 0.56, 2 * 0.62 and 2 * 0.8; then one gained: the mean of 4 θ (1 − θ).
    drift = anchor_drift([1, 0], [0, 1])
    assert math.exp(drift.log_e[0]) == pytest.approx((1.12 + 1.24 + 1.6) / 3)
    assert math.exp(drift.log_e[1]) == pytest.approx(4 * (0.56 * 0.44 + 0.62 * 0.38 + 0.8 * 0.2) / 3)
    assert not drift.has_drifted.any()


def test_without_drift_the_mean_of_e_is_1() -> None:
    """E after one run with n different verdicts is a test martingale: its mean over all outcomes is exactly 1."""
    for n in (0, 1, 5, 30):
        lost = np.arange(n + 1)
        weights = np.array([math.comb(n, k) for k in lost]) / 2.0**n
        log_e = anchor_drift(lost[:, None], (n - lost)[:, None]).log_e[:, 0]
        assert float(weights @ np.exp(log_e)) == pytest.approx(1.0)


def test_a_judge_that_became_worse_has_drifted_and_stays_so() -> None:
    lost, gained = [9] * 20 + [0] * 20, [2] * 20 + [9] * 20
    drift = anchor_drift(lost, gained)
    first = int(np.argmax(drift.has_drifted))
    assert 0 < first < 10
    assert drift.has_drifted[first:].all()
    assert drift.log_e[first] >= math.log(50.0) > drift.log_e[-1]
    # A better judge has not.
    assert not anchor_drift([2] * 60, [9] * 60).has_drifted.any()
    wrong = (([1, 2], [1], "the same shape"), ([-1], [1], "numbers of anchors"), ([1], [np.nan], "numbers of anchors"))
    for before, after, text in wrong:
        with pytest.raises(ValueError, match=text):
            anchor_drift(before, after)


COUNTS = ((14, 6, 15), (190, 13, 2))
"""Flagged and unflagged answers by the number of labels `faulty`."""
RATE = strata_rate([5000, 5000], 900, [40, 0], [30, 0], 160, 4).rate


def test_golden_errors_and_rate() -> None:
    golden_rate = (0.15447713497232124, 0.10284274786980799, 0.21708625799851416)
    golden_faulty = (0.16431082051895032, 0.04, 0.31)
    golden_sound = (0.03205472242442432, 0.016866722222222224, 0.0521645)
    errors = label_errors(COUNTS)
    assert (errors.reviewed_twice, errors.disagreements) == (240, 19)
    for each, golden in ((errors.on_sound, golden_sound), (errors.on_faulty, golden_faulty)):
        assert (each.value, each.low, each.high) == pytest.approx(golden, abs=1e-9)
    rate = errors.corrected(RATE)
    assert (rate.value[0], rate.low[0], rate.high[0]) == pytest.approx(golden_rate, abs=1e-9)
    # A rate that is not known stays so.
    assert np.isnan([rate.value[1], rate.low[1], rate.high[1]]).all()
    assert rate.reason.tolist() == [0, 1]


def test_without_enough_answers_with_two_labels_labels_count_as_truth() -> None:
    for counts in ([], [[LEAST_TWICE - 1, 0, 0]]):
        errors = label_errors(counts)
        assert errors.corrected(RATE) is RATE
        assert np.isnan([errors.on_sound.value, errors.on_faulty.high]).all()
    assert "count as truth in rates. Two people labelled 19 answers of" in label_errors_text("cited", errors)
    assert label_errors([[LEAST_TWICE, 0, 0]]).on_sound.low == 0.0


def test_many_equal_labels_hardly_change_the_rate() -> None:
    errors = label_errors([[0, 0, 4000], [20_000, 0, 0]])
    assert errors.on_sound.high < 0.001
    rate = errors.corrected(RATE)
    assert (rate.low[0], rate.high[0]) == pytest.approx((RATE.low[0], RATE.high[0]), abs=2e-3)


def test_the_verdicts_tell_missed_faults_from_false_ones() -> None:
    """Without them either a faulty or a sound answer may have two different labels."""
    known, unknown = label_errors(COUNTS), label_errors([np.sum(COUNTS, axis=0)])
    widths = [float(np.ptp([each.corrected(RATE).low[0], each.corrected(RATE).high[0]])) for each in (known, unknown)]
    assert RATE.high[0] - RATE.low[0] < widths[0] < widths[1]
    text = label_errors_text("cited", known)
    assert "differ about 19 of 240 answers of the random part. A person calls 3.2% (1.7% to 5.2%) of the sound" in text


GOLDEN = (5000, 900, 40, 30, 160, 4)


def test_golden_rate_and_that_of_gold_alone() -> None:
    result = strata_rate(*GOLDEN)
    golden = (0.1555, 0.124456982417, 0.192708640039)
    assert (result.rate.value, result.rate.low, result.rate.high) == pytest.approx(golden, abs=1e-9)
    assert int(result.rate.reason) == RateReason.none
    # Gold alone has the interval of Wilson.
    assert float(result.gold_only.value) == pytest.approx(34 / 200)
    np.testing.assert_allclose((result.gold_only.low, result.gold_only.high), wilson(34, 200))
    assert float(result.width_saved) == pytest.approx(1 - (0.192708640039 - 0.124456982417) / np.ptp(wilson(34, 200)))
    assert not result.judge_adds_nothing
    many = strata_rate(*np.array([GOLDEN, (5000, 900, 0, 0, 160, 4)]).T).rate
    assert many.value.tolist() == pytest.approx([0.1555, np.nan], nan_ok=True)
    assert [RATE_REASON_NAMES[number] for number in many.reason] == ["", "no gold"]


def test_a_judge_that_guesses_or_flags_nothing_adds_nothing() -> None:
    """A judge with 83 % sensitivity and 29 % specificity at 18 % faults: it flags 73 %, with an interval as wide."""
    result = strata_rate(20_000, 14_600, 73, 15, 27, 3)
    assert float(result.rate.value) == pytest.approx(0.18, abs=1e-3)
    assert result.judge_adds_nothing
    result = strata_rate(5000, 0, 0, 0, 200, 4)
    np.testing.assert_allclose((result.rate.low, result.rate.high), wilson(4, 200))
    assert int(result.rate.reason) == RateReason.none
    assert result.judge_adds_nothing


def test_a_rate_is_insufficient_for_a_reason() -> None:
    for values, reason in (
        ((5000, 900, 0, 0, 160, 4), "no gold"),
        ((5000, 900, 40, 30, 0, 0), "no gold"),
        ((0, 0, 0, 0, 0, 0), "no gold"),
        ((5000, 900, 9, 7, 40, 1), "little gold"),
        ((5000, 900, 10, 7, 40, 1), ""),
    ):
        rate = strata_rate(*values).rate
        assert RATE_REASON_NAMES[int(rate.reason)] == reason, values
        assert np.isnan(rate.value) == np.isnan(rate.low) == np.isnan(rate.high) == (reason == "no gold")


def test_gold_that_was_drawn_by_verdict_has_no_rate_of_its_own() -> None:
    """Half of gold is flagged, where 18 % of the answers are: the faulty share of gold is not that of the answers."""
    result = strata_rate(5000, 900, 100, 75, 100, 2)
    assert float(result.rate.value) == pytest.approx(0.18 * 0.75 + 0.82 * 0.02)
    assert int(result.rate.reason) == RateReason.none
    assert RATE_REASON_NAMES[int(result.gold_only.reason)] == "uneven gold"
    assert np.isnan([result.gold_only.value, result.width_saved]).all()
    assert not result.judge_adds_nothing
    for values, text in (
        ((100, 101, 1, 1, 1, 1), "flagged answers than judged"),
        ((100, 20, 21, 1, 1, 1), "flagged answers in gold than flagged"),
        ((100, 20, 5, 6, 1, 1), "faulty answers than answers in flagged gold"),
        ((-1, 0, 0, 0, 0, 0), "judged must be whole numbers"),
        ((100, float("nan"), 5, 5, 5, 2), "flagged must be whole numbers"),
    ):
        with pytest.raises(ValueError, match=text):
            strata_rate(*values)


def test_the_weighted_rate_of_parts() -> None:
    """That of one part is its rate; parts without labels make it insufficient only if they have answers."""
    part = strata_rate(*([each] for each in GOLDEN)).rate
    total = weighted_rate(part, [7.0], 200)
    assert (total.value, total.low, total.high) == pytest.approx((part.value[0], part.low[0], part.high[0]))
    assert int(total.reason) == RateReason.none
    parts = strata_rate([100, 50], [20, 10], [10, 0], [5, 0], [40, 0], [2, 0]).rate
    assert int(weighted_rate(parts, [1.0, 1.0], 50).reason) == RateReason.no_gold
    assert np.isnan(weighted_rate(parts, [1.0, 1.0], 50).value)
    assert int(weighted_rate(parts, [1.0, 0.0], 50).reason) == RateReason.none
    assert int(weighted_rate(parts, [1.0, 0.0], 49).reason) == RateReason.little_gold
    for weights in ([0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="weights"):
            weighted_rate(parts, weights, 50)


@pytest.mark.parametrize("runs", [40, pytest.param(400, marks=pytest.mark.long)])
def test_the_weighted_rate_covers_the_rate_of_traffic_that_was_chosen_with_different_probabilities(runs: int) -> None:
    """The pooled rate does not."""
    rng = np.random.default_rng(7)
    traffic, faulty, shares = np.array([20_000, 40_000]), np.array([0.3, 0.05]), np.array([0.5, 0.05])
    truth = float(np.sum(traffic * faulty) / traffic.sum())
    covered = unweighted = 0
    for _ in range(runs):
        judged = rng.binomial(traffic, shares)
        is_faulty = rng.binomial(judged, faulty)
        flagged = rng.binomial(is_faulty, 0.8) + rng.binomial(judged - is_faulty, 0.1)
        # Labels of 120 answers in each part, by verdict as a random part has them.
        right = np.array([0.8, 0.8]) * faulty / (0.8 * faulty + 0.1 * (1 - faulty))
        missed = 0.2 * faulty / (0.2 * faulty + 0.9 * (1 - faulty))
        gold1 = np.minimum(rng.binomial(120, flagged / judged), flagged)
        gold0 = 120 - gold1
        counts = (judged, flagged, gold1, rng.binomial(gold1, right), gold0, rng.binomial(gold0, missed))
        rate = weighted_rate(strata_rate(*counts).rate, judged / shares, 240)
        covered += bool(rate.low <= truth <= rate.high)
        pooled = strata_rate(*(each.sum() for each in counts)).rate
        unweighted += bool(pooled.low <= truth <= pooled.high)
    assert covered >= 0.93 * runs
    assert unweighted < 0.5 * runs


def test_a_hand_computed_interval() -> None:
    # Sound: 1, 2, 3 beat 2, 2.5 and 3 of the faulty 0, 1, 2 by half counts for ties.
    trust = score_trust([1, 2, 3, 0, 1, 2], [True, True, True, False, False, False])
    auroc = (1.5 + 2.5 + 3) / 9
    assert (trust.faulty, trust.sound) == (3, 3)
    assert trust.auroc == pytest.approx(auroc)
    variance = 2 * np.var([1.5 / 3, 2.5 / 3, 3 / 3], ddof=1) / 3
    half = 1.959963984540054 * math.sqrt(variance) / (auroc * (1 - auroc))
    odds = math.log(auroc / (1 - auroc))
    assert trust.low == pytest.approx(1 / (1 + math.exp(half - odds)))
    assert trust.high == pytest.approx(1 / (1 + math.exp(-half - odds)))
    assert trust.reason == FEW_LABELS


def test_who_is_trusted() -> None:
    for n, shift, reason in (
        (200, 1.0, ""),
        (200, 0.0, NO_BETTER),
        (200, -1.0, WORSE),
        (LEAST_LABELS, 50.0, ""),
        (LEAST_LABELS - 1, 50.0, FEW_LABELS),
        (0, 0.0, FEW_LABELS),
    ):
        rng = np.random.default_rng(3)
        scores = np.concatenate([rng.normal(shift, 1.0, 300), rng.normal(0.0, 1.0, n)])
        trust = score_trust(scores, [True] * 300 + [False] * n)
        assert (trust.faulty, trust.sound, trust.reason) == (n, 300, reason)
        assert math.isnan(trust.auroc) == (n == 0)


def test_the_same_score_for_all_is_chance_and_wrong_arguments_are_errors() -> None:
    trust = score_trust([1.0] * 100, [True, False] * 50)
    assert (trust.auroc, trust.reason) == (0.5, NO_BETTER)
    assert trust.low < 0.5 < trust.high
    assert score_trust([], []).reason == FEW_LABELS
    with pytest.raises(ValueError, match="one label each"):
        score_trust([1.0, 2.0], [True])
    with pytest.raises(ValueError, match="must be numbers"):
        score_trust([1.0, math.nan], [True, False])


@pytest.mark.parametrize("runs", [100, pytest.param(2_000, marks=pytest.mark.long)])
def test_an_evaluator_without_a_clue_is_seldom_trusted(runs: int) -> None:
    rng = np.random.default_rng(11)
    is_sound = np.arange(120) >= LEAST_LABELS
    trusted = sum(not score_trust(rng.normal(size=120), is_sound).reason for _ in range(runs))
    # 2.5 % of a 95 % interval, plus three standard errors and what a small sample adds.
    assert trusted / runs < 0.045
