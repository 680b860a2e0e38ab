"""Latency by hour, errors by kind and rank correlation in the report."""

from __future__ import annotations

import math

import msgspec
from barograph.contract import Slo

from cli.shadow.evaluation import CandidateEvaluation
from cli.shadow.histogram_sections import correlation_text, errors_section, hours_section
from tests.support.candidate_evaluation import HISTOGRAMS, made_evaluation
from warehouse.shadow.pair_histograms import PairHistograms

NONE = PairHistograms([], math.nan, {}, {})


def with_slo(latency_ms: float | None) -> CandidateEvaluation:
    evaluation = made_evaluation(3)
    contract = msgspec.structs.replace(evaluation.test.contract, slo=Slo(latency_ms=latency_ms))
    test = evaluation.test
    return CandidateEvaluation(
        type(test)(contract, test.row, test.shadow, test.basis, test.settings, test.is_canary),
        evaluation.slices,
        evaluation.newest_end_s,
        evaluation.matured_s,
        evaluation.decision,
    )


def test_hours_have_p50_and_p99_of_both_versions_and_the_slo() -> None:
    section = hours_section(with_slo(150.0), HISTOGRAMS)
    cells = '<td>23</td><td class="n">1,200</td><td class="n">20</td><td class="n">30</td><td class="n">80</td>'
    assert f'{cells}<td class="n">130</td>' in section
    assert section.count("<svg") == section.count('class="major-line"') == 2
    assert "the contract, 150 ms" in section
    assert "version &lt;4&gt;, ms" in section
    without = hours_section(with_slo(None), HISTOGRAMS)
    assert "major-line" not in without
    assert "slo.latency_ms" not in without


def test_errors_are_listed_by_version_the_most_frequent_first() -> None:
    section = errors_section(made_evaluation(3), HISTOGRAMS)
    assert '<td>&lt;Error&gt;</td><td class="n">0 (0%)</td><td class="n">12 (1.00%)</td>' in section
    assert section.index("&lt;Error&gt;") < section.index("TimeoutError")


def test_the_correlation_has_three_decimals() -> None:
    assert "<b>0.988</b>" in correlation_text(HISTOGRAMS)


def test_histograms_without_values_have_no_sections() -> None:
    evaluation = made_evaluation(3)
    assert (hours_section(evaluation, NONE), errors_section(evaluation, NONE), correlation_text(NONE)) == ("", "", "")
