"""Rates of faulty answers by evaluator, version and prompt, corrected by the labels of people."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.judges.fault_rate import FaultRate, JudgedRate
from barograph_server.sketches.judges.label_errors import LabelErrors
from barograph_server.sketches.judges.strata import strata_rate, weighted_rate
from barograph_server.sketches.judges.trust import ScoreTrust, score_trust
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.reviews import read_label_errors

ALL_PROMPTS = "*"
"""Name of the group of all answers, beside those of prompts."""
REVIEW_WINDOW = timedelta(days=28)
"""Times of the labels that show how far people agree: one answer in ten has two labels, too few in a week."""
IntArray = NDArray[np.int64]
By = Literal["prompt", "version", "arm", "day", "prompt and all"]
_GROUPS: dict[By, str] = {
    "prompt": "prompt",
    "version": "version",
    "arm": "arm",
    "day": "toString(toDate(at))",
    "prompt and all": f"arrayJoin([toString(prompt), '{ALL_PROMPTS}'])",
}


@dataclass(frozen=True, slots=True)
class EvaluatedGroup:
    """Counts of the answers that one version of an evaluator evaluated, of one prompt, version, arm or day."""

    evaluator: str
    evaluator_version: str
    kind: str
    name: str
    """The prompt, version, arm or day."""
    newest_at: datetime
    """Event time of the newest answer."""
    judged: int
    """Answers with a result."""
    flagged: int
    """Of these, answers that the evaluator calls faulty."""
    labels: int
    """Answers with a result and a label."""
    agreeing: int
    """Of these, answers about which evaluator and people agree."""
    without_result: int
    """Answers that failed, were skipped, or could not be decided."""
    shares: int
    """Different probabilities with which the answers were chosen; with more than one, the rate is weighted by their
    inverses."""


@dataclass(frozen=True, slots=True)
class EvaluationRates:
    """K groups with their rates of faulty answers."""

    groups: tuple[EvaluatedGroup, ...]
    rate: JudgedRate
    """Every array has the shape (K,). Allows for errors of people where they are known."""
    label_errors: dict[str, LabelErrors]
    """Evaluator → how often people are wrong."""


def read_evaluation_rates(
    client: Client, evaluator_models: Sequence[str], since: datetime, until: datetime, by: By = "prompt"
) -> EvaluationRates:
    """Read the evaluations of a range of event time, and compute their rates of faults.

    Labels must be of a random part of the evaluated answers (`sketches.judges.strata`).

    Args:
        by: what divides answers into groups, besides the evaluator and its version; `prompt and all` adds a group of
            all answers, `ALL_PROMPTS`.
    """
    rows = client.rows(
        f"SELECT evaluator, evaluator_version, any(kind), {_GROUPS[by]} AS part, max(at) AS newest_at, share, "
        "countIf(class != '') AS judged, countIf(class = 'faulty') AS flagged, "
        "countIf(class = 'faulty' AND label != '') AS flagged_gold, "
        "countIf(class = 'faulty' AND label = 'faulty') AS flagged_faulty, "
        "countIf(class = 'sound' AND label != '') AS unflagged_gold, "
        "countIf(class = 'sound' AND label = 'faulty') AS unflagged_faulty, "
        "countIf(class = '') AS without_result "
        "FROM (SELECT evaluator, evaluator_version, kind, at, version, prompt, arm, class, label, share "
        "FROM evaluations "
        "WHERE evaluator_model IN {models:Array(String)} AND at >= {since:DateTime64(3, 'UTC')} "
        "AND at < {until:DateTime64(3, 'UTC')} ORDER BY class = '' "
        "LIMIT 1 BY evaluator, evaluator_version, id, version) "
        "GROUP BY evaluator, evaluator_version, part, share "
        "ORDER BY evaluator, newest_at DESC, evaluator_version, part, share",
        {"models": list(evaluator_models), "since": since, "until": until},
    )
    parts: dict[tuple[str, str, str], list[tuple[Any, ...]]] = {}
    for row in rows:
        parts.setdefault((row[0], row[1], row[3]), []).append(row)
    by_model = read_label_errors(client, evaluator_models, min(since, until - REVIEW_WINDOW))
    errors = {model.rpartition(".")[2]: each for model, each in by_model.items()}
    pairs = [_group(each) for each in parts.values()]
    rates = [_map(rate, errors[group.evaluator].corrected) for group, rate in pairs]
    return EvaluationRates(tuple(group for group, _ in pairs), _stacked(rates), errors)


def _group(rows: Sequence[tuple[Any, ...]]) -> tuple[EvaluatedGroup, JudgedRate]:
    """Return a group and its rate from one row for each probability with which answers were chosen."""
    evaluator, version, kind, name = rows[0][:4]
    counts = np.array([row[6:] for row in rows], np.int64).T
    judged, flagged, flagged_gold, flagged_faulty, unflagged_gold, unflagged_faulty, without_result = counts
    labels = flagged_gold + unflagged_gold
    group = EvaluatedGroup(
        evaluator,
        version,
        kind,
        name,
        max(row[4] for row in rows),
        int(judged.sum()),
        int(flagged.sum()),
        int(labels.sum()),
        int((flagged_faulty + unflagged_gold - unflagged_faulty).sum()),
        int(without_result.sum()),
        len(rows),
    )
    rates = strata_rate(judged, flagged, flagged_gold, flagged_faulty, unflagged_gold, unflagged_faulty)
    if len(rows) == 1 or not judged.sum():
        return group, _map(rates, lambda rate: FaultRate(*(getattr(rate, name)[0] for name in _MEMBERS)))
    # Evaluations without a probability, of other programs, count as those of all answers.
    weights = judged / np.array([row[5] or 1.0 for row in rows], np.float64)
    return group, _map(rates, lambda rate: weighted_rate(rate, weights, int(labels.sum())))


_MEMBERS = ("value", "low", "high", "reason")


def _map(rates: JudgedRate, change: Callable[[FaultRate], FaultRate]) -> JudgedRate:
    return JudgedRate(change(rates.rate), change(rates.gold_only))


def _stacked(rates: Sequence[JudgedRate]) -> JudgedRate:
    """Join the rates of K groups to arrays of the shape (K,)."""

    def joined(each: Sequence[FaultRate]) -> FaultRate:
        value, low, high = (np.array([getattr(rate, name) for rate in each], np.float64) for name in _MEMBERS[:3])
        return FaultRate(value, low, high, np.array([rate.reason for rate in each], np.int8))

    return JudgedRate(joined([each.rate for each in rates]), joined([each.gold_only for each in rates]))


@dataclass(frozen=True, slots=True)
class EvaluatorTrust:
    """How far one version of an evaluator can be trusted."""

    evaluator: str
    evaluator_version: str
    measured_by: Literal["score", "verdict"]
    """`verdict` (1 for sound, 0 for faulty) of an evaluator without scores."""
    trust: ScoreTrust


def read_evaluator_trust(
    client: Client, evaluator_models: Sequence[str], since: datetime, until: datetime
) -> list[EvaluatorTrust]:
    """Read the labelled evaluations of a range of event time, and compute AUROC of every version with a result.

    Labels must be of a random part of the evaluated answers. Answers without a score do not count for evaluators that
    have scores.
    """
    rows = client.rows(
        "SELECT evaluator, evaluator_version, countIf(NOT isNaN(score)) > 0, groupArrayIf(score, label != ''), "
        "groupArrayIf(class = 'sound', label != ''), groupArrayIf(label = 'sound', label != '') "
        "FROM (SELECT evaluator, evaluator_version, at, class, score, label FROM evaluations "
        "WHERE evaluator_model IN {models:Array(String)} AND at >= {since:DateTime64(3, 'UTC')} "
        "AND at < {until:DateTime64(3, 'UTC')} ORDER BY class = '' "
        "LIMIT 1 BY evaluator, evaluator_version, id, version) "
        "WHERE class != '' GROUP BY evaluator, evaluator_version ORDER BY evaluator, max(at) DESC, evaluator_version",
        {"models": list(evaluator_models), "since": since, "until": until},
    )
    trusts = []
    for evaluator, version, has_scores, scores, verdicts, labels in rows:
        values = np.asarray(scores if has_scores else verdicts, np.float64)
        counts = ~np.isnan(values)
        trust = score_trust(values[counts], np.asarray(labels, np.bool_)[counts])
        trusts.append(EvaluatorTrust(evaluator, version, "score" if has_scores else "verdict", trust))
    return trusts
