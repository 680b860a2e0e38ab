"""The report: one page without references, deterministic, with every name escaped."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, LabelSpec, ShadowTest

from cli.shadow.evaluation import CandidateEvaluation, CandidateTest
from cli.shadow.report import render_report
from sketches.shadow.exceedances import bucket_histogram
from warehouse.queries import ContractRow
from warehouse.shadow.criteria import decision
from warehouse.shadow.days import COUNTED, ShadowDays

SHADOW = ShadowTest(candidate="<4>", of="3", margins={"accuracy": 0.02, "latency": 0.1, "missing": 0.05})
CONTRACT = Contract(model="a & b", label=LabelSpec(type="bool", positive=True), shadow=SHADOW)


def made_days(name: str, n_days: int, better: float) -> ShadowDays:
    rng = np.random.default_rng(4)
    n = np.full(n_days, 400.0)
    sums = {column: np.zeros(n_days) for column in COUNTED}
    won, lost = (rng.poisson(20 * (1 + sign * better), n_days).astype(float) for sign in (1, -1))
    sums |= {"requests": n, "pairs": n - 9, "compared": n - 9, "agreed": n - 50, "labelled": n - 9, "timed": n - 9}
    sums |= {
        "candidate_right": won,
        "primary_right": lost,
        "both_right": n - 99,
        "log_latency": rng.normal(4, 1, n_days),
    }
    latencies = np.tile(bucket_histogram([0, 24], [300, 91]), (n_days, 1))
    return ShadowDays(
        name,
        tuple(str(date(2026, 5, 1) + timedelta(day)) for day in range(n_days)),
        np.ones(n_days, bool),
        np.ones(n_days, bool),
        sums,
        {"timeout": np.full(n_days, 8.0), "<reason>": np.ones(n_days)},
        {"latencies_primary": latencies, "latencies_candidate": latencies} if name == "all" else {},
    )


def made_evaluation(n_days: int, *, is_canary: bool = False) -> CandidateEvaluation:
    slices = [made_days("all", n_days, 0.2), made_days("country=<b>DE</b>", n_days, -0.8)]
    row = ContractRow(CONTRACT.model, CONTRACT.id, "", datetime.now(UTC))
    test = CandidateTest(CONTRACT, row, SHADOW, "basis", is_canary)
    return CandidateEvaluation(test, slices, 0, 0, decision(SHADOW, slices))


def test_a_page_has_all_sections_and_no_references() -> None:
    page = render_report(made_evaluation(60))
    for title in ("Criteria", "Slices by evidence of harm", "Requests", "Latency", "Agreement"):
        assert f"<h2>{title}</h2>" in page
    assert page.count("<svg") == 3 + 2 + 1 + 1
    assert not re.search(r"<script|<link|<img|https?:|src=|href=|url\(", page)
    assert "candidate time-outs (2.00%)" in page
    assert "<td>p50</td>" in page


def test_names_are_escaped() -> None:
    page = render_report(made_evaluation(60))
    for name in ("a & b", "<4>", "<b>DE</b>", "<reason>"):
        assert name not in page, name
    assert "country=&lt;b&gt;DE&lt;/b&gt;" in page


def test_the_same_sums_give_the_same_page() -> None:
    assert render_report(made_evaluation(60)) == render_report(made_evaluation(60))


@pytest.mark.parametrize("n_days", [1, 2, 27, 28, 29])
def test_a_page_of_few_days_says_what_is_missing(n_days: int) -> None:
    page = render_report(made_evaluation(n_days))
    assert "days left" in page
    assert ("No slice has enough data" in page) == (n_days < 29)
    assert (page.count('<polyline class="series"') > 3) == (n_days > 1)


def test_a_model_without_labels_and_latencies_has_a_page() -> None:
    evaluation = made_evaluation(30)
    whole = evaluation.whole
    for name in ("labelled", "timed", "compared"):
        whole.sums[name] = np.zeros(30)
    shadow = msgspec.structs.replace(SHADOW, margins={"missing": 0.05})
    test = CandidateTest(CONTRACT, evaluation.test.row, shadow, "basis", True)
    page = render_report(CandidateEvaluation(test, [whole], 0, 0, decision(shadow, [whole])))
    assert "No pair has a latency on both sides" in page
    assert "version 3 replaced version &lt;4&gt;, which is now its shadow" in page
