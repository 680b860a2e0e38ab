"""Counts of pairs from tables, on flights that can be counted by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest

from cli.demo.shadow.source_pairs import count_source_pairs

PREDICTIONS = pa.table(
    {
        "id": list("abcdef"),
        "score": [0.9, 0.2, 0.6, 0.4, 0.5, 0.1],
        "class": ["late", "on time", "late", "on time", "late", "on time"],
    }
)
SHADOWS = pa.table(
    {
        "id": list("abcde"),
        "score": [0.8, 0.7, None, 0.3, None],
        "class": ["late", "late", None, "on time", None],
        "error": [None, None, "shadow-timeout", None, "ValueError"],
    }
)
LABELS = pa.table({"id": list("abce"), "label": ["late", "on time", "late", "late"]})


def test_each_request_is_a_pair_or_has_a_reason() -> None:
    counts = count_source_pairs(PREDICTIONS, SHADOWS, LABELS, {"shadow-timeout": "timeout", "ValueError": "error"})
    assert (counts.requests, counts.pairs) == (6, 3)
    assert counts.missing == {"timeout": 1, "error": 1, "no-event": 1}
    assert counts.agreed == 2
    assert (counts.labelled, counts.primary_right, counts.candidate_right) == (2, 1, 0)
    assert counts.brier == pytest.approx((0.1**2 + 0.2**2) - (0.2**2 + 0.7**2))


def test_without_faults_no_reason_is_counted() -> None:
    answered = SHADOWS.slice(0, 2)
    counts = count_source_pairs(PREDICTIONS.slice(0, 2), answered, LABELS, {})
    assert (counts.requests, counts.pairs, counts.missing) == (2, 2, {})
