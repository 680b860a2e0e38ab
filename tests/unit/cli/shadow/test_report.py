"""The report: one page without references, deterministic, with every name escaped."""

from __future__ import annotations

import math
import re

import msgspec
import numpy as np
import pytest

from cli.shadow.evaluation import CandidateEvaluation, CandidateTest
from cli.shadow.report import render_report
from tests.support.candidate_evaluation import CONTRACT, HISTOGRAMS, SHADOW, made_evaluation
from warehouse.shadow.criteria import decision
from warehouse.shadow.pair_histograms import PairHistograms


def test_a_page_refers_to_nothing_and_escapes_every_name() -> None:
    page = render_report(made_evaluation(60), HISTOGRAMS)
    assert not re.search(r"<script|<link|<img|https?:|src=|href=|url\(", page)
    assert "candidate time-outs (2.00%)" in page
    for name in ("a & b", "<4>", "<b>DE</b>", "<reason>", "<Error>"):
        assert name not in page, name
    assert "country=&lt;b&gt;DE&lt;/b&gt;" in page
    assert page == render_report(made_evaluation(60), HISTOGRAMS), "the same sums give the same page"


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
    test = CandidateTest(CONTRACT, evaluation.test.row, shadow, "basis", "", True)
    page = render_report(CandidateEvaluation(test, [whole], 0, 0, decision(shadow, [whole])))
    assert "No pair has a latency on both sides" in page
    assert "version 3 replaced version &lt;4&gt;, which is now its shadow" in page


def test_histograms_of_pairs_add_sections() -> None:
    evaluation = made_evaluation(40)
    page, plain = render_report(evaluation, HISTOGRAMS), render_report(evaluation)
    for text in (
        "<h2>Latency by hour of the day</h2>",
        '<td>23</td><td class="n">1,200</td><td class="n">20</td><td class="n">30</td><td class="n">80</td>'
        '<td class="n">130</td>',
        '<td>&lt;Error&gt;</td><td class="n">0 (0%)</td><td class="n">12 (1.00%)</td>',
        "<b>0.988</b>",
    ):
        assert text in page
        assert text not in plain
    none = render_report(evaluation, PairHistograms([], math.nan, {}, {}))
    assert none == plain


def test_costs_are_shown_per_1000_predictions_and_for_full_traffic() -> None:
    evaluation = made_evaluation(40)
    assert "<h2>Cost</h2>" not in render_report(evaluation)
    shadow = msgspec.structs.replace(SHADOW, prices={"in": 0.001})
    whole = evaluation.whole
    whole.sums["costed"] = np.full(40, 100.0)
    whole.spent_primary["in"] = np.full(40, 1_000.0)
    whole.spent_candidate["in"] = np.full(40, 900.0) + np.tile([-10.0, 10.0], 20)
    contract = msgspec.structs.replace(CONTRACT, raw_share=0.5)
    test = CandidateTest(contract, evaluation.test.row, shadow, "basis", "", False)
    page = render_report(CandidateEvaluation(test, evaluation.slices, 0, 0, evaluation.decision))
    for row in (
        '<td>version 3</td><td class="n">10</td><td class="n">8</td>',
        '<td>version &lt;4&gt;</td><td class="n">9</td><td class="n">7.2</td>',
        '<td>difference</td><td class="n">-1</td><td class="n">-0.8</td>',
    ):
        assert row in page
    assert "answers all 800 requests" in page


def test_the_noise_of_a_copy_is_shown_beside_the_disagreement() -> None:
    evaluation = made_evaluation(40)
    sums = evaluation.whole.sums
    sums |= {"copy_compared": np.full(40, 200.0), "copy_agreed": np.full(40, 190.0)}
    sums["copy_candidate_agreed"] = 170.0 + np.tile([-5.0, 5.0], 20)
    page = render_report(evaluation)
    assert "in 15.00%, and its copy" in page
    assert "Beyond the noise of the copy: <b>0.1</b> (95% interval 0.0" in page
    sums["copy_agreed"] = sums["copy_compared"]
    assert "The copy never disagrees" in render_report(evaluation)
