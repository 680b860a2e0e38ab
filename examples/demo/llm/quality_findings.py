"""What the evaluators say of answers whose truth is known, compared with the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from barograph.contract.evaluators import FAULTY

from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.llm.documented_answers import FAULTS, INTACT, KnownAnswer
from barograph_server.examples.demo.queries import (
    DemoQuery,
    EvaluationCounts,
    evaluated_classes,
    evaluation_counts,
    labelled_results,
)
from barograph_server.examples.demo.report import DemoReport, joined
from barograph_server.sketches.judges.fault_rate import RateReason
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.evaluation_rates import EvaluationRates, read_evaluation_rates

MODEL = "docs-bot"
CITED, RIGHT = "cited", "right"
LEAST_ERROR = 0.05
"""By how much the judge is wrong at least, so that there is something to correct."""
MOST_DELAY_S = 60.0


@dataclass(frozen=True, slots=True)
class QualityFindings:
    """The evaluations beside the truth."""

    answers: Mapping[str, KnownAnswer]
    by_version: DemoQuery
    """Per evaluator and its version: evaluations, those that say faulty, those without a result, the share of faulty
    ones in percent, labels, the 95th percentile of the time from the answer to its evaluation in seconds."""
    rates: EvaluationRates
    """Of the judge, by its version, the newest first."""
    truth: float
    """Share of faulty answers among those that the first judge evaluated."""
    cited: Mapping[str, str]
    """Id of a quote → the class of its citation check."""


def counts(client: Client, evaluator: str) -> EvaluationCounts:
    """Count the evaluations of an evaluator."""
    return evaluation_counts(client, f"{MODEL}.{evaluator}")


def are_evaluated(client: Client, answers: Mapping[str, KnownAnswer]) -> bool:
    """Return whether both evaluators have evaluated all answers."""
    return all(counts(client, evaluator).evaluations >= len(answers) for evaluator in (CITED, RIGHT))


def read_quality(
    client: Client, answers: Mapping[str, KnownAnswer], since: datetime, until: datetime
) -> QualityFindings:
    """Read the evaluations of a range of event time."""
    rates = read_evaluation_rates(client, [f"{MODEL}.{RIGHT}"], since, until, "version")
    newest = rates.groups[-1].evaluator_version if rates.groups else ""
    judged = evaluated_classes(client, f"{MODEL}.{RIGHT}")
    faulty = [answers[id_].is_faulty for id_, version, class_ in judged if class_ and version == newest]
    cited = evaluated_classes(client, f"{MODEL}.{CITED}")
    return QualityFindings(
        answers,
        labelled_results(client, MODEL),
        rates,
        sum(faulty) / max(1, len(faulty)),
        {id_: class_ for id_, _, class_ in cited if answers[id_].fault is not None},
    )


def report_quality(report: DemoReport, findings: QualityFindings) -> None:
    """Print what was found."""
    report.signal("Quality", "how many answers are faulty? A judge errs, too: labels of people say how often")
    columns = ("evaluator", "version", "evaluations", "faulty", "no result", "faulty %", "labels", "p95 s")
    report.table(columns, [[str(value) for value in row] for row in findings.by_version], numbers=range(2, 8))
    report.query(findings.by_version.sql)
    groups, rate = findings.rates.groups, findings.rates.rate.rate
    rows = [
        (
            group.evaluator_version,
            f"{group.flagged / max(1, group.judged):.1%}",
            str(group.labels),
            f"{rate.low[i]:.1%} to {rate.high[i]:.1%}" if rate.reason[i] == RateReason.none else "insufficient",
        )
        for i, group in enumerate(groups)
    ]
    report.table(("version of the judge", "it says", "labels", "corrected"), rows, numbers=range(1, 4))
    report.paragraph(f"In truth, {findings.truth:.1%} of the answers that the first judge evaluated are faulty.")
    kinds = Counter(each.fault for id_, each in findings.answers.items() if each.fault is not None)
    called = Counter(findings.answers[id_].fault for id_, class_ in findings.cited.items() if class_ == FAULTY)
    by_fault = [(name or "none", str(kinds[name]), str(called[name])) for name in (INTACT, *FAULTS)]
    report.table(("planted fault", "quotes", "called faulty"), by_fault, numbers=range(1, 3))


def quality_expectations(findings: QualityFindings) -> list[DemoExpectation]:
    """Compare what was found with the truth."""
    groups, rate = findings.rates.groups, findings.rates.rate.rate
    first = len(groups) - 1
    raw = groups[first].flagged / max(1, groups[first].judged) if groups else 0.0
    low, high = (float(rate.low[first]), float(rate.high[first])) if groups else (0.0, 0.0)
    missed = [id_ for id_, class_ in findings.cited.items() if class_ != "faulty" and findings.answers[id_].is_faulty]
    false = [
        id_ for id_, class_ in findings.cited.items() if class_ == "faulty" and not findings.answers[id_].is_faulty
    ]
    p95_s = max((float(row[-1]) for row in findings.by_version), default=0.0)
    counts = Counter(str(row[0]) for row in findings.by_version)
    return [
        DemoExpectation(
            "each answer has an evaluation of the check and of the judge",
            not any(int(row[2]) == 0 for row in findings.by_version)
            and sum(int(row[2]) for row in findings.by_version if row[0] == CITED) == len(findings.answers)
            and sum(int(row[2]) for row in findings.by_version if row[0] == RIGHT) == len(findings.answers),
            ", ".join(f"{row[0]} {row[2]}" for row in findings.by_version),
        ),
        DemoExpectation(
            "the check of citations finds every planted fault, and accepts every other quote",
            bool(findings.cited) and not missed and not false,
            f"{len(findings.cited)} quotes, missed {joined(missed) or 'none'}, false alarms {joined(false) or 'none'}",
        ),
        DemoExpectation(
            f"the judge alone is wrong by more than {100 * LEAST_ERROR:.0f} points, and with labels its interval "
            "contains the truth",
            abs(raw - findings.truth) > LEAST_ERROR and low <= findings.truth <= high,
            f"judge {raw:.1%}, corrected {low:.1%} to {high:.1%}, truth {findings.truth:.1%}",
        ),
        DemoExpectation(
            "the changed judge is another version, without the labels of the first",
            counts[RIGHT] == 2 and len(groups) == 2 and groups[0].labels == 0 and groups[first].labels > 0,
            ", ".join(f"{group.evaluator_version} with {group.labels} labels" for group in groups),
        ),
        DemoExpectation(
            f"95% of answers are evaluated within {MOST_DELAY_S:.0f} s",
            0.0 < p95_s < MOST_DELAY_S,
            f"{p95_s:.1f} s",
        ),
    ]
