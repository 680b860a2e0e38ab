"""A decision as JSON values, which evidence bundles hash: no text for people belongs here."""

from __future__ import annotations

import math
from typing import Any

from barograph_server.rollouts.candidate import CandidateEvaluation
from barograph_server.sketches.rollout.decision import ShadowDecision


def decision_json(evaluation: CandidateEvaluation) -> dict[str, Any]:
    """Convert a decision to JSON values; numbers that are not finite become null."""
    test, whole, decision = evaluation.test, evaluation.whole, evaluation.decision
    return {
        "model": test.model,
        "candidate": test.shadow.candidate,
        "of": test.shadow.of,
        "is_canary": test.is_canary,
        "outcome": decision.outcome.value,
        "days_left": _finite(decision.days_left),
        "first_day": whole.days[0],
        "last_day": whole.days[-1],
        "requests": int(whole.sums["requests"].sum()),
        "pairs": int(whole.sums["pairs"].sum()),
        "missing": {reason: int(counts.sum()) for reason, counts in whole.missing.items()},
        **evidence_json(decision),
    }


def evidence_json(decision: ShadowDecision) -> dict[str, Any]:
    """Convert criteria and slices to JSON values."""
    return {
        "criteria": [
            {
                "name": each.criterion.name,
                "margin": each.criterion.margin,
                "days": each.days,
                "least_days": each.least_days,
                "value": _finite(each.value),
                "low": _finite(each.low),
                "high": _finite(each.high),
                "value_if_missing_are_worst": _finite(each.least_value),
                "is_met": each.is_met,
                "is_harmed": each.is_harmed,
                "days_left": _finite(each.days_left),
            }
            for each in decision.criteria
        ],
        "harmed_slices": [each.name for each in decision.harmed_slices],
        "some_slice_harmed": decision.some_slice_harmed,
        "judged_slices": decision.judged_slices,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
