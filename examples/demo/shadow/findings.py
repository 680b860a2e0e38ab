"""Findings about the candidate: the account of its requests, the decision after every day, and what is expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.flights import MODEL, Calendar
from barograph_server.examples.demo.queries import DemoQuery, shadow_requests, shadow_volume
from barograph_server.examples.demo.report import DemoReport, day_of, joined, percent
from barograph_server.examples.demo.shadow.source_pairs import SourcePairs
from barograph_server.rollouts.candidate import CandidateEvaluation, evaluate
from barograph_server.rollouts.decision_text import REASON_TEXTS, print_decision
from barograph_server.sketches.rollout.decision import Outcome
from barograph_server.sketches.rollout.looks import decide_at
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import Client


@dataclass(frozen=True, slots=True)
class DailyOutcome:
    """The decision after one day."""

    day: date
    """Local day of 2013, the last one counted."""
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class CandidateFindings:
    """What the pipeline found about the candidate."""

    requests: DemoQuery
    """One row: requests, pairs, agreed, labelled, only the primary right, only the candidate right, pairs that the copy
    answered too, those in which it agrees with the primary, missing."""
    volume: DemoQuery
    """One row: predictions that count for the model, recorded predictions of the candidate."""
    evaluation: CandidateEvaluation
    """What `barograph promote` decides from."""
    daily_outcomes: tuple[DailyOutcome, ...]
    """From the first day on, as if somebody had looked after every day once its labels were mature."""

    @property
    def periods(self) -> list[tuple[Outcome, date]]:
        """Each outcome with the first day of the days that have it."""
        return [
            (outcome, next(group).day) for outcome, group in groupby(self.daily_outcomes, key=lambda each: each.outcome)
        ]


def read_candidate(client: Client, calendar: Calendar) -> CandidateFindings:
    """Read the findings from the demo's database."""
    evaluation = evaluate(client, MODEL)
    shadow, slices = evaluation.test.shadow, evaluation.slices
    daily_outcomes = [
        DailyOutcome(_original(calendar, day), decide_at(shadow, slices, day).outcome) for day in evaluation.whole.days
    ]
    return CandidateFindings(shadow_requests(client), shadow_volume(client), evaluation, tuple(daily_outcomes))


def _original(calendar: Calendar, day: str) -> date:
    return date.fromisoformat(day) - timedelta(weeks=calendar.shift_weeks)


# ---------------------------------------------------------------------------------------------------- report


def report_candidate(report: DemoReport, terminal: Terminal, findings: CandidateFindings) -> None:
    """Print the account of requests, the decision, and when it was reached."""
    report.signal("Requests", "each flight has a pair or a reason")
    requests, pairs, agreed, *_, with_copy, copy_agreed, missing = findings.requests.rows[0]
    reasons = [f"{int(n):,} {REASON_TEXTS.get(reason, reason)}" for reason, n in sorted(missing.items())]
    counted, shadows = findings.volume.rows[0]
    report.paragraph(
        f"{requests:,} flights = {pairs:,} pairs + {joined(reasons)}. Both versions predict the same class in "
        f"{percent(agreed / pairs if pairs else None)} of the pairs, and the copy agrees with the primary in "
        f"{percent(copy_agreed / with_copy if with_copy else None)}. The {shadows:,} predictions of the candidate do "
        f"not count for the model: its volume is {counted:,}."
    )
    report.query(findings.requests.sql)
    shadow = findings.evaluation.test.shadow
    report.signal("Decision", f"may version {shadow.candidate} replace version {shadow.of}?")
    print_decision(terminal, findings.evaluation)
    report.finding(
        "Looked at after every day",
        f"{_sentence(findings.periods)} Only whole local days with mature "
        "labels count, and the intervals hold at every look.",
    )
    report.line(f"  {report.command} promote --model {MODEL}", "cyan")


def _sentence(periods: Sequence[tuple[Outcome, date]]) -> str:
    (first, _), *later = periods
    if not later:
        return f"The decision is {first.value} on all days."
    changes = joined(f"{outcome.value} from {day_of(day)}" for outcome, day in later)
    return f"The decision is {first.value} at first, and {changes} on."


# ---------------------------------------------------------------------------------------------------- expectations


def expect_candidate(findings: CandidateFindings, source: SourcePairs) -> Iterator[DemoExpectation]:
    """Compare the findings with counts of the source tables, and with what these two models must show."""
    requests, pairs, agreed, labelled, primary_right, candidate_right, *copy, missing = findings.requests.rows[0]
    counted, shadows = findings.volume.rows[0]
    yield DemoExpectation(
        "requests = pairs + reasons, and each number equals that of the source",
        requests == pairs + sum(missing.values())
        and (requests, pairs, dict(missing)) == (source.requests, source.pairs, dict(source.missing)),
        f"{requests:,} = {pairs:,} + {' + '.join(f'{int(n):,} {reason}' for reason, n in sorted(missing.items()))}",
    )
    yield DemoExpectation(
        "the candidate's predictions are recorded and do not count for the model",
        counted == source.requests and shadows == source.requests - source.missing.get("no-event", 0),
        f"{counted:,} counted, {shadows:,} recorded beside them",
    )
    counts = (agreed, labelled, primary_right, candidate_right)
    yield DemoExpectation(
        "agreement, labels and right answers of all pairs equal the source",
        counts == (source.agreed, source.labelled, source.primary_right, source.candidate_right),
        f"{agreed:,} agree; {labelled:,} with a label, {primary_right:,} of them only the primary predicted right, "
        f"{candidate_right:,} only the candidate",
    )
    yield DemoExpectation(
        "the second copy of the primary agrees with it in every pair",
        copy == [source.pairs, source.pairs],
        f"{copy[1]:,} of {copy[0]:,}",
    )
    sums, decision = findings.evaluation.whole.sums, findings.evaluation.decision
    brier = float(sums["brier_primary"].sum() - sums["brier_candidate"].sum())
    yield DemoExpectation(
        "the difference of Brier scores equals the source",
        abs(brier - source.brier) < 1e-6 and source.brier < 0.0,
        f"{brier / labelled if labelled else float('nan'):.6f} per pair",
    )
    yield DemoExpectation(
        "the candidate without weather is held, and was never to be promoted",
        decision.outcome is Outcome.hold and Outcome.promote not in {each.outcome for each in findings.daily_outcomes},
        ", ".join(f"{outcome.value} from {day}" for outcome, day in findings.periods),
    )
    worse = {each.criterion.name for each in decision.criteria if each.is_harmed}
    met = {each.criterion.name for each in decision.criteria if each.is_met}
    yield DemoExpectation(
        "its quality is worse, and its missing answers are within the margin",
        {"accuracy", "brier"} <= worse and "missing" in met,
        f"worse: {joined(sorted(worse))}; met: {joined(sorted(met))}",
    )
