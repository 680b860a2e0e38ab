"""Rates of faulty answers by evaluator, version and prompt, corrected by the labels of people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from sketches.judges.fault_rate import JudgedRate
from sketches.judges.strata import strata_rate
from warehouse.client import Client

ALL_PROMPTS = "*"
"""Name of the group of all answers, beside those of prompts."""
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
    """Different probabilities with which the answers were chosen; with more than one the rates are not those of the
    traffic."""


@dataclass(frozen=True, slots=True)
class EvaluationRates:
    """K groups with their rates of faulty answers."""

    groups: tuple[EvaluatedGroup, ...]
    rate: JudgedRate
    """Every array has the shape (K,)."""


def read_evaluation_rates(
    client: Client, evaluator_models: Sequence[str], since: datetime, until: datetime, by: By = "prompt"
) -> EvaluationRates:
    """Read the evaluations of a range of event time, and compute their rates of faults.

    Labels must be of a random part of the evaluated answers (`sketches.judges.strata`).

    Args:
        client: the connection to read from.
        evaluator_models: the models of the evaluators.
        since: the start of the range, inclusive.
        until: its end, exclusive.
        by: what divides answers into groups, besides the evaluator and its version; `prompt and all` adds a group of
            all answers, `ALL_PROMPTS`.
    """
    rows = client.rows(
        f"SELECT evaluator, evaluator_version, any(kind), {_GROUPS[by]} AS part, max(at) AS newest_at, "  # noqa: S608 - names of this file
        "countIf(class != '') AS judged, countIf(class = 'faulty') AS flagged, "
        "countIf(class = 'faulty' AND label != '') AS flagged_gold, "
        "countIf(class = 'faulty' AND label = 'faulty') AS flagged_faulty, "
        "countIf(class = 'sound' AND label != '') AS unflagged_gold, "
        "countIf(class = 'sound' AND label = 'faulty') AS unflagged_faulty, "
        "countIf(class = '') AS without_result, uniqExact(share) AS shares "
        "FROM (SELECT evaluator, evaluator_version, kind, at, version, prompt, arm, class, label, share "
        "FROM evaluations "
        "WHERE evaluator_model IN {models:Array(String)} AND at >= {since:DateTime64(3, 'UTC')} "
        "AND at < {until:DateTime64(3, 'UTC')} ORDER BY class = '' "
        "LIMIT 1 BY evaluator, evaluator_version, id, version) "
        "GROUP BY evaluator, evaluator_version, part ORDER BY evaluator, newest_at DESC, evaluator_version, part",
        {"models": list(evaluator_models), "since": since, "until": until},
    )
    counts = np.array([row[5:] for row in rows], np.int64).reshape(len(rows), 8).T
    judged, flagged, flagged_gold, flagged_faulty, unflagged_gold, unflagged_faulty, without_result, shares = counts
    groups = tuple(
        EvaluatedGroup(
            evaluator,
            version,
            kind,
            name,
            newest_at,
            int(judged[i]),
            int(flagged[i]),
            int(flagged_gold[i] + unflagged_gold[i]),
            int(flagged_faulty[i] + unflagged_gold[i] - unflagged_faulty[i]),
            int(without_result[i]),
            int(shares[i]),
        )
        for i, (evaluator, version, kind, name, newest_at) in enumerate(row[:5] for row in rows)
    )
    rate = strata_rate(judged, flagged, flagged_gold, flagged_faulty, unflagged_gold, unflagged_faulty)
    return EvaluationRates(groups, rate)
