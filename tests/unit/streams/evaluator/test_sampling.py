"""Which answers are evaluated: by the shares of prompt and slices, and within the budget of an hour."""

from __future__ import annotations

import pytest
from barograph.contract import Contract, Slice, Text
from barograph.contract.evaluators import Evaluator, EvaluatorBudget

from barograph_server.streams.evaluator.active import ActiveEvaluator, HourlyBudget
from barograph_server.streams.evaluator.answer import Answer
from barograph_server.streams.evaluator.evaluation import Evaluation


def taken(budget: EvaluatorBudget, seconds: int, **used: float) -> list[int]:
    """Ask for a call ten times a second, and return the calls of each minute."""
    now_s = 1_000.0
    hourly = HourlyBudget(budget, lambda: now_s)
    minutes = [0] * (seconds // 60)
    for tenth in range(seconds * 10):
        now_s += 0.1
        if hourly.take_call():
            minutes[tenth // 600] += 1
            hourly.charge(used)
    return minutes


@pytest.mark.parametrize(
    ("budget", "used"),
    [
        (EvaluatorBudget(calls=600), {}),
        (EvaluatorBudget(tokens=60_000), {"tokens": 100}),
        (EvaluatorBudget(usd=6.0), {"usd": 0.01}),
    ],
)
def test_a_budget_is_spread_over_the_hour(budget: EvaluatorBudget, used: dict[str, float]) -> None:
    minutes = taken(budget, 3600, **used)
    # Five minutes' worth at once, then ten each minute.
    assert minutes[0] == pytest.approx(60, abs=1)
    assert all(each == pytest.approx(10, abs=1) for each in minutes[1:])
    assert sum(minutes) == pytest.approx(650, abs=2 if budget.calls else 3)


def test_a_small_budget_allows_a_call_at_last_and_none_is_unlimited() -> None:
    assert sum(taken(EvaluatorBudget(calls=1), 7200)) == 2
    assert sum(taken(EvaluatorBudget(), 60)) == 600


def test_retries_count_and_a_call_that_was_not_needed_is_given_back() -> None:
    budget = HourlyBudget(EvaluatorBudget(calls=120), lambda: 1_000.0)
    for _ in range(100):
        assert budget.take_call()
        budget.charge({"calls": -1.0})
    assert budget.take_call()
    budget.charge({"calls": 9.0})
    assert not budget.take_call()


CONTRACT = Contract(
    model="bot",
    text=Text(content="keep", sample=1.0),
    slices=(Slice(name="country", source="context.land"),),
    evaluators={
        "refuses": Evaluator(
            check="refusal", share=0.1, prompts={"answer@8": 0.6, "answer@9": 0.0}, slices={"country=de": 0.5}
        )
    },
)


@pytest.mark.parametrize(
    ("context", "share"),
    [
        ({}, 0.1),
        ({"land": "de"}, 0.5),
        ({"country": "de"}, 0.1),
        ({"prompt": "answer@8"}, 0.6),
        ({"prompt": "answer@8", "land": "de"}, 0.6),
        ({"prompt": "answer@9", "land": "de"}, 0.5),
    ],
)
def test_the_largest_share_of_prompt_and_slices_counts(context: dict[str, str], share: float) -> None:
    evaluator = ActiveEvaluator(
        CONTRACT, "refuses", "v", lambda answer: Evaluation(False), HourlyBudget(CONTRACT.evaluators["refuses"].budget)
    )
    assert evaluator.share(Answer("bot", "1", "a", 0, "Hello.", context=context)) == share
