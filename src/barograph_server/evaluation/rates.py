"""`rates` for notebooks and `barograph evaluations`: how many answers are faulty, by checks and judges."""

from dataclasses import dataclass
from datetime import UTC, datetime

from barograph_server.contracts import read_contract, require_evaluators
from barograph_server.settings import SettingsOrPath, open_settings
from barograph_server.sketches.judges.label_errors import LEAST_TWICE, LabelErrors
from barograph_server.terminal import percentage, plural
from barograph_server.times import parse_since
from barograph_server.warehouse.client import connect
from barograph_server.warehouse.evaluation.evaluation_rates import (
    By,
    EvaluationRates,
    EvaluatorTrust,
    read_evaluation_rates,
    read_evaluator_trust,
)

SHOWN_ERRORS = ("reviewed_twice", "disagreements", "on_sound", "on_faulty")
"""Attributes of `LabelErrors` that programs read."""


@dataclass(frozen=True, slots=True)
class RatesReport:
    """Rates of faulty answers of a model, and how far its evaluators agree with people."""

    model: str
    by: By
    since: datetime
    rates: EvaluationRates
    trusts: tuple[EvaluatorTrust, ...]


def rates(model: str, *, by: By = "prompt", since: str = "30d", settings: SettingsOrPath = None) -> RatesReport:
    """Read how many answers are faulty, corrected by the labels of people.

    Args:
        by: what divides answers into groups, besides the evaluator and its version.
        since: the start of the answers' event time: a time, or how long ago.

    Raises:
        ContractError: the contract cannot be read.
    """
    now = datetime.now(UTC)
    start = parse_since("--since", since, now)
    with connect(open_settings(settings, needs=("clickhouse",)).warehouse) as client:
        models = require_evaluators(read_contract(client, model))
        return RatesReport(
            model,
            by,
            start,
            read_evaluation_rates(client, models, start, now, by),
            tuple(read_evaluator_trust(client, models, start, now)),
        )


def label_errors_text(evaluator: str, errors: LabelErrors) -> str:
    """Say how often people are wrong, and what that means for rates."""
    twice = f"{plural(errors.reviewed_twice, 'answer')} of the random part"
    if errors.reviewed_twice < LEAST_TWICE:
        truth = f"{evaluator}: labels of people count as truth in rates. Two people labelled {twice}"
        return f"{truth}; from {LEAST_TWICE} on, rates allow for errors of people."
    sound, faulty = (
        f"{percentage(each.value)} ({percentage(each.low)} to {percentage(each.high)})"
        for each in (errors.on_sound, errors.on_faulty)
    )
    return (
        f"{evaluator}: two people differ about {errors.disagreements:,} of {twice}. A person calls {sound} of the "
        f"sound answers faulty, and {faulty} of the faulty ones sound. Rates allow for this, but not for errors that "
        "people share."
    )
