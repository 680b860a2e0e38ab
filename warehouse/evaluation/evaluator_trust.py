"""AUROC of evaluators against the labels of people, by evaluator and version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from barograph_server.sketches.judges.trust import ScoreTrust, score_trust
from barograph_server.warehouse.client import Client


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

    Args:
        since: the start of the range, inclusive.
        until: its end, exclusive.
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
