"""Checks of what becomes of events: dead letters, invalid values, and labels that are not measured."""

import time
from collections.abc import Callable, Iterator

from barograph_server.finding import Finding, ok, warning
from barograph_server.terminal import plural, ratio, utc_minute
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history import event_counts
from barograph_server.warehouse.history.event_counts import (
    DEAD_LETTER,
    LABEL_PROBLEMS,
    SPANS,
    VALUE_PROBLEMS,
    ProblemRow,
)
from barograph_server.warehouse.operations import status

COMPONENT = "Events"
RECENT_S = 7 * 86_400
"""Age at which a problem is over: since the receipt of its last dead letter, otherwise before the last traffic."""
SHARE = 0.01
"""Share of the predictions or labels above which a problem is a warning. Every dead letter is one."""
_ACTIONS = {
    DEAD_LETTER: "Replay or drop those that `barograph dead-letters list` shows as waiting; all count here for a week.",
    "invalid": "Compare the contract's type with the served values: `barograph check`.",
    "unseen": "Correct the served class, or add it to label.classes of the contract.",
    "wrong_type": "Publish labels of the contract's type, or change label.type.",
    "undeclared_label": "Correct the labels, or add the class to label.classes of the contract.",
    "undeclared_class": "Correct the served class, or declare it in the contract's label.",
    "unmatched": "Publish labels with the id of their prediction, and the predictions if they are missing.",
    "late": "Raise label.horizon if such labels should count.",
    "out_of_range": "Publish probabilities as the score, or declare a number as the label.",
    "invalid_sum": "Publish a probability for every class.",
}


def check_events(client: Client, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Check for recent events, by this machine's clock (Unix seconds), that are not counted or not measured."""
    totals = event_counts.totals(client)
    last_traffic_s: dict[str, float] = {}
    for row in status.freshness(client):
        last_traffic_s[row.model] = max(last_traffic_s.get(row.model, 0.0), row.last_traffic_at.timestamp())
    n_minor = n_warnings = 0
    for problem in event_counts.problems(client):
        if problem.kind == SPANS:
            continue
        end_s = clock() if problem.kind == DEAD_LETTER else last_traffic_s.get(problem.model, 0.0)
        if problem.last_at.timestamp() < end_s - RECENT_S:
            continue
        of = totals.get(problem.model)
        total = 0 if of is None else of.labels if _is_of_labels(problem) else of.predictions
        if problem.kind != DEAD_LETTER and problem.n <= SHARE * total:
            n_minor += problem.n
            continue
        n_warnings += 1
        yield warning(COMPONENT, _message(problem, total), _ACTIONS[problem.kind])
    if not n_warnings:
        minor = f"; {plural(n_minor, 'event')} with lesser problems, see `barograph status`" if n_minor else ""
        yield ok(COMPONENT, f"No dead letters in {RECENT_S // 86_400} days, values and labels are usable{minor}.")


def _is_of_labels(problem: ProblemRow) -> bool:
    return problem.kind in LABEL_PROBLEMS and LABEL_PROBLEMS[problem.kind].startswith("labels")


def _message(problem: ProblemRow, total: int) -> str:
    words = {DEAD_LETTER: "dead letters", **VALUE_PROBLEMS, **LABEL_PROBLEMS}[problem.kind]
    share = ""
    if problem.kind != DEAD_LETTER and total:
        events = "labels" if _is_of_labels(problem) else "predictions"
        share = f", {ratio(problem.n, max(total, problem.n))} of the {events},"
    name = f" ({problem.name})" if problem.name else ""
    since = f" since {utc_minute(problem.first_at)}, the last at {utc_minute(problem.last_at)}."
    return f"{problem.model or 'Unknown model'}: {problem.n:,} {words}{name}{share}{since}"
