"""The days of a look, and expectations that fail if a count differs from the source."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from barograph.contract import Contract

from cli.demo.flights import MODEL, SHADOW
from cli.demo.query_result import DemoQuery
from cli.demo.shadow.findings import CandidateFindings, DailyOutcome, expect_candidate
from cli.demo.shadow.source_pairs import SourcePairs
from cli.shadow.evaluation import CandidateEvaluation, CandidateTest
from sketches.shadow.decision import Criterion, CriterionDays, Outcome, decide
from warehouse.queries import ContractRow
from warehouse.shadow.days import ShadowDays

N_DAYS = 60
SOURCE = SourcePairs(
    requests=60_100,
    pairs=60_000,
    missing={"timeout": 60, "no-event": 40},
    agreed=50_000,
    labelled=59_000,
    primary_right=5_000,
    candidate_right=2_000,
    brier=-1_200.0,
)
CONTRACT = Contract(model=MODEL, shadow=SHADOW)
ROW = ContractRow(MODEL, "0123456789abcdef", "", datetime(2026, 11, 1, tzinfo=UTC))
TEST = CandidateTest(CONTRACT, ROW, SHADOW, "basis", "", is_canary=False)


def days(n: int = N_DAYS) -> ShadowDays:
    return ShadowDays(
        "all",
        tuple(str(date.fromordinal(738_000 + day)) for day in range(n)),
        np.ones(n, np.bool_),
        np.ones(n, np.bool_),
        {"brier_primary": np.full(n, 100.0), "brier_candidate": np.full(n, 120.0)},
        {"timeout": np.ones(n)},
    )


def findings() -> CandidateFindings:
    rng = np.random.default_rng(3)
    pairs = np.full(N_DAYS, 1_000.0)
    worse = [
        CriterionDays(Criterion(name, 0.02), rng.normal(-60.0, 20.0, N_DAYS), pairs) for name in ("accuracy", "brier")
    ]
    equal = CriterionDays(Criterion("missing", 0.02), rng.normal(-2.0, 1.0, N_DAYS), pairs)
    counts = (60_100, 60_000, 50_000, 59_000, 5_000, 2_000, 60_000, 60_000, {"timeout": 60, "no-event": 40})
    return CandidateFindings(
        requests=DemoQuery("", (counts,)),
        volume=DemoQuery("", ((60_100, 60_060),)),
        evaluation=CandidateEvaluation(TEST, [days()], 0, 0, decide([*worse, equal])),
        daily_outcomes=(
            DailyOutcome(date(2013, 8, 1), Outcome.insufficient),
            DailyOutcome(date(2013, 9, 1), Outcome.hold),
        ),
    )


def test_all_expectations_hold_for_the_counts_of_the_source() -> None:
    assert [each.what for each in expect_candidate(findings(), SOURCE) if not each.is_met] == []


@pytest.mark.parametrize(
    "change",
    [
        {"requests": 60_101},
        {"pairs": 59_999},
        {"missing": {"timeout": 61, "no-event": 40}},
        {"agreed": 50_001},
        {"labelled": 59_001},
        {"primary_right": 5_001},
        {"candidate_right": 2_001},
        {"brier": -1_200.1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_count_that_differs_from_the_source_fails(change: dict[str, Any]) -> None:
    assert not all(each.is_met for each in expect_candidate(findings(), replace(SOURCE, **change)))


def test_a_promotion_at_any_look_fails() -> None:
    result = findings()
    once = replace(result, daily_outcomes=(*result.daily_outcomes, DailyOutcome(date(2013, 9, 2), Outcome.promote)))
    assert not all(each.is_met for each in expect_candidate(once, SOURCE))
    assert once.periods[-1] == (Outcome.promote, date(2013, 9, 2))
