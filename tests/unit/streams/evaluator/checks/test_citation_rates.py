"""Recall and false alarms on planted faults and harmless edits (a quarter of `python -m tests.reference.citations`)."""

from __future__ import annotations

import pytest

from tests.reference.citations import FAULT_SHARES, HARMLESS_EDITS, run


@pytest.mark.long
def test_planted_faults_are_flagged_and_harmless_edits_rarely() -> None:
    study = run(seed=5, faults=250, harmless=240)
    for kind in FAULT_SHARES:
        flagged = [outcome.is_flagged for outcome in study.faults if outcome.kind == kind]
        assert len(flagged) >= 15, kind
        assert sum(flagged) >= 0.95 * len(flagged), kind
    for kind in HARMLESS_EDITS:
        flagged = [outcome.is_flagged for outcome in study.harmless if outcome.kind == kind]
        assert len(flagged) == 30, kind
        # An ellipsis may cut a date or a quantity in two.
        assert sum(flagged) <= (0.1 if kind == "ellipsis" else 0.05) * len(flagged), kind
    assert sum(outcome.is_flagged for outcome in study.harmless) < 0.05 * len(study.harmless)
