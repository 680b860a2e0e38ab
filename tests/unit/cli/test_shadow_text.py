"""Costs in the output of `barograph shadow status`, and the values that only its JSON output has."""

from __future__ import annotations

import dataclasses
import json
import math

import msgspec
import numpy as np
import pytest

from barograph_server.cli.shadow import status_values
from barograph_server.rollouts.candidate import CandidateEvaluation
from barograph_server.rollouts.projected_cost import projected_cost
from barograph_server.terminal import Terminal
from tests.support.candidate_evaluation import HISTOGRAMS, made_evaluation


def priced(n_days: int) -> CandidateEvaluation:
    """Every request has a cost of 0.01 on the primary, and about 0.009 on the candidate."""
    evaluation = made_evaluation(n_days)
    shadow = msgspec.structs.replace(evaluation.test.shadow, prices={"in": 0.001})
    whole = evaluation.whole
    whole.sums["costed"] = np.full(n_days, 391.0)
    whole.spent_primary["in"] = np.full(n_days, 3_910.0)
    whole.spent_candidate["in"] = 3_519.0 + np.arange(n_days, dtype=np.float64) % 5
    return dataclasses.replace(evaluation, test=dataclasses.replace(evaluation.test, shadow=shadow))


def test_json_has_costs_disagreement_and_histograms(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = priced(10)
    Terminal().json(status_values(evaluation, dataclasses.replace(HISTOGRAMS, correlation=math.nan)))
    values = json.loads(capsys.readouterr().out)
    cost = projected_cost(evaluation.test.shadow, evaluation.whole)
    assert cost is not None
    assert values["cost_per_day"] == dataclasses.asdict(cost) | {"low": None, "high": None}
    assert values["disagreement"] is None
    assert values["correlation"] is None
    assert [each["hour"] for each in values["hours"]] == [0, 23]
    assert values["hours"][1]["candidate"][values["latency_ranks"].index(0.99)] == 130.0
    assert (values["errors_primary"], values["errors_candidate"]) == ({"TimeoutError": 3}, {"<Error>": 12})
