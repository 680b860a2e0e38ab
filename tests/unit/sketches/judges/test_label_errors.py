"""Errors of people from two labels of the same answers."""

import numpy as np
import pytest

from barograph_server.evaluation.rates import label_errors_text
from barograph_server.sketches.judges.label_errors import LEAST_TWICE, label_errors
from barograph_server.sketches.judges.strata import strata_rate

COUNTS = ((14, 6, 15), (190, 13, 2))
"""Flagged and unflagged answers by the number of labels `faulty`."""
GOLDEN_SOUND = (0.03205472242442432, 0.016866722222222224, 0.0521645)
GOLDEN_FAULTY = (0.16431082051895032, 0.04, 0.31)
GOLDEN_RATE = (0.15447713497232124, 0.10284274786980799, 0.21708625799851416)
RATE = strata_rate([5000, 5000], 900, [40, 0], [30, 0], 160, 4).rate


def test_golden_errors_and_rate() -> None:
    errors = label_errors(COUNTS)
    assert (errors.reviewed_twice, errors.disagreements) == (240, 19)
    for each, golden in ((errors.on_sound, GOLDEN_SOUND), (errors.on_faulty, GOLDEN_FAULTY)):
        assert (each.value, each.low, each.high) == pytest.approx(golden, abs=1e-9)
    rate = errors.corrected(RATE)
    assert (rate.value[0], rate.low[0], rate.high[0]) == pytest.approx(GOLDEN_RATE, abs=1e-9)
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
