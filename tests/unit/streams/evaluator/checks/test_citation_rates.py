"""Recall and false alarms on planted faults and harmless edits (a quarter of `python -m tests.reference.citations`)."""

from __future__ import annotations

from functools import cache

import pytest

from tests.reference.citations import FAULT_SHARES, HARMLESS_EDITS, Study, read_documents, run


@cache
def study() -> Study:
    return run(seed=5, faults=250, harmless=240)


@pytest.mark.parametrize("kind", FAULT_SHARES)
def test_faults_are_flagged(kind: str) -> None:
    outcomes = [outcome for outcome in study().faults if outcome.kind == kind]
    assert len(outcomes) >= 15
    assert sum(outcome.is_flagged for outcome in outcomes) >= 0.95 * len(outcomes)


@pytest.mark.parametrize("kind", HARMLESS_EDITS)
def test_harmless_edits_are_rarely_flagged(kind: str) -> None:
    outcomes = [outcome for outcome in study().harmless if outcome.kind == kind]
    # An ellipsis may cut a date or a quantity in two.
    allowed = 0.1 if kind == "ellipsis" else 0.05
    assert len(outcomes) == 30
    assert sum(outcome.is_flagged for outcome in outcomes) <= allowed * len(outcomes)


def test_few_harmless_edits_are_flagged_in_all() -> None:
    assert sum(outcome.is_flagged for outcome in study().harmless) < 0.05 * len(study().harmless)


def test_the_documents_are_about_a_shop() -> None:
    documents = read_documents()
    assert len(documents) >= 30
    assert all(text.startswith("# ") and 300 < len(text) < 2_000 for text in documents.values())
