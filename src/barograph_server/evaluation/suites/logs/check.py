"""What every log must fulfil: it is readable, has each answer once, and states the mean of its scores."""

from __future__ import annotations

import math

from barograph_server.errors import CommandError
from barograph_server.warehouse.evaluation.eval_runs import EvalRun


class EvalLogError(CommandError):
    """A log cannot be read; the text names the file and what to do."""


TOLERANCE = 1e-9
"""Largest difference of two means of the same scores."""


def check_run(run: EvalRun, total: float, where: str, hint: str = "", *, averages_items: bool = False) -> EvalRun:
    """Return a run whose answers are distinct and whose mean is the log's.

    Args:
        total: the mean score that the log states.
        hint: a possible reason for a difference, as a sentence.
        averages_items: whether the log states the mean of the items' means, not that of all answers.
    """
    if not run.answers:
        raise EvalLogError(
            f"{where}: none of its {run.unscored:,} answers has a score of {run.scorer}, so nothing is stored. "
            "Did every call fail?"
        )
    keys = set[tuple[str, int]]()
    for answer in run.answers:
        if (answer.item, answer.epoch) in keys:
            raise EvalLogError(
                f"{where}: item {answer.item}, epoch {answer.epoch}, is there twice: give each item of the suite "
                "its own id."
            )
        keys.add((answer.item, answer.epoch))
    mean = run.mean_of_items if averages_items else run.mean
    if not math.isclose(mean, total, rel_tol=0.0, abs_tol=TOLERANCE):
        raise EvalLogError(
            f"{where}: the mean of the {len(run.answers):,} scores is {mean:.9g}, but the log states {total:.9g}. "
            f"Nothing is stored. {hint or 'Was the log changed or cut off?'}"
        )
    return run


def check_count(counted: int, stated: object, what: str, where: str) -> None:
    """Compare a count with that of the log."""
    if counted != stated:
        raise EvalLogError(
            f"{where}: has {counted:,} {what}, but the log states {stated}. Nothing is stored. Was the log changed or "
            "cut off?"
        )
