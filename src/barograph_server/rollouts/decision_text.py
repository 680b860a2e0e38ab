"""Text and JSON output of a decision."""

import math
from collections.abc import Iterator

from barograph.contract import ShadowTest

from barograph_server.rollouts.candidate import CandidateEvaluation
from barograph_server.sketches.rollout.decision import CriterionVerdict, Outcome, ShadowDecision
from barograph_server.sketches.rollout.shadow_days import ShadowDays
from barograph_server.terminal import AlignedTable, Terminal, plural, ratio

REASON_TEXTS = {
    "primary-failed": "failed in the primary",
    "no-event": "without an event of the candidate",
    "error": "candidate errors",
    "timeout": "candidate time-outs",
    "wrong-output": "outputs of a wrong type",
    "closed": "pending at the end of the process",
    "skipped-sample": "outside the sample",
    "skipped-queue": "skipped: queue full",
    "skipped-breaker": "skipped: circuit breaker open",
    "skipped-budget": "skipped: budget used up",
}
"""Why a request has no pair, for people."""


def print_decision(terminal: Terminal, evaluation: CandidateEvaluation) -> None:
    """Print the decision, its criteria and the requests without a pair."""
    test, decision = evaluation.test, evaluation.decision
    shadow, after_promotion = test.shadow, test.after_promotion
    terminal.line(title(test.model, shadow, after_promotion=after_promotion), "bold")
    terminal.lines(pair_lines(evaluation.whole))
    terminal.table(criteria_table(decision))
    other = f"version {shadow.candidate}" if after_promotion else "the primary"
    terminal.line(f"Differences are the quality of {test.judged_version} minus that of {other}: above 0 is better.")
    print_harmed_slices(terminal, decision)
    terminal.line(decision_line(shadow, decision, after_promotion=after_promotion), "bold")


def print_harmed_slices(terminal: Terminal, decision: ShadowDecision) -> None:
    for harmed in decision.harmed_slices:
        terminal.line(f"worse in {harmed.name} ({harmed.criterion})", "red")
    if decision.some_slice_harmed and not decision.harmed_slices:
        terminal.line("worse in some slice, but there is not enough evidence to name it", "yellow")


def title(model: str, shadow: ShadowTest, *, after_promotion: bool) -> str:
    """Name the versions that are compared."""
    if after_promotion:
        return f"{model}: version {shadow.of} replaced version {shadow.candidate}, which is now its shadow"
    return f"{model}: version {shadow.candidate} beside version {shadow.of}"


def decision_line(shadow: ShadowTest, decision: ShadowDecision, *, after_promotion: bool) -> str:
    """State the decision and, if it is open, about how many days are left."""
    return f"decision: {outcome_text(shadow, decision.outcome, after_promotion=after_promotion)}{open_text(decision)}"


def outcome_text(shadow: ShadowTest, outcome: Outcome, *, after_promotion: bool) -> str:
    """Name an outcome; After a promotion, the decision is about the new primary."""
    if not after_promotion:
        return outcome.value
    texts = {Outcome.promote: "keep", Outcome.hold: f"roll back to version {shadow.candidate}"}
    return texts.get(outcome, outcome.value)


def open_text(decision: ShadowDecision) -> str:
    """Say whether days are too alike, and about how many days are left; empty if none are, or if it is unknown."""
    left = decision.days_left
    is_alike = decision.outcome is Outcome.insufficient and any(each.too_alike for each in decision.criteria)
    reason = ": days too alike" if is_alike else ""
    return f"{reason}, about {plural(math.ceil(left), 'day')} left" if math.isfinite(left) and left > 0 else reason


def pair_lines(whole: ShadowDays) -> Iterator[str]:
    """Yield the number of requests as the sum of pairs and of requests without a pair, by reason."""
    requests = int(whole.sums["requests"].sum())
    yield f"{requests:,} requests = {int(whole.sums['pairs'].sum()):,} pairs"
    for reason, counts in whole.missing.items():
        n = int(counts.sum())
        yield f"  + {n:,} {REASON_TEXTS.get(reason, reason)} ({ratio(n, requests)})"


def criteria_table(decision: ShadowDecision) -> AlignedTable:
    table = AlignedTable(
        *("criterion", "difference", "95 % interval", "margin", "days", "needs", "state"),
        numbers=("difference", "margin", "days", "needs"),
    )
    for each in decision.criteria:
        table.row(
            each.criterion.name,
            number(each.value),
            f"{number(each.low)} to {number(each.high)}",
            f"-{each.criterion.margin:.3g}",
            str(each.days),
            str(each.least_days),
            state_text(each),
        )
    return table


def state_text(verdict: CriterionVerdict) -> str:
    """Say whether a criterion is met, and if not, why."""
    if verdict.is_harmed:
        return "worse"
    if verdict.is_met:
        return "met"
    if verdict.days < verdict.least_days:
        return f"too few days: {verdict.days} of {verdict.least_days}"
    if verdict.too_alike:
        days = verdict.look_days or verdict.days
        return f"days too alike: {days} are worth {days / verdict.kappa:.1f}"
    if verdict.next_look is not None:
        return f"not yet known: next look on day {verdict.next_look}"
    if verdict.low > -verdict.criterion.margin:
        return "met, unless missing answers were wrong"
    return "not yet known"


def number(value: float) -> str:
    """Write a number; `unknown` if it is not finite."""
    return f"{value:.4g}" if math.isfinite(value) else "unknown"
