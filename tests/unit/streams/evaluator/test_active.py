"""Probabilities with which answers are evaluated."""

from __future__ import annotations

import pytest
from barograph.contract import Contract, Slice, Text
from barograph.contract.evaluators import Evaluator

from streams.evaluator.active import ActiveEvaluator
from streams.evaluator.answer import Answer
from streams.evaluator.budget import HourlyBudget
from streams.evaluator.evaluation import Evaluation

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
        ({"land": "fr"}, 0.1),
        ({"land": "de"}, 0.5),
        ({"country": "de"}, 0.1),
        ({"prompt": "answer@8"}, 0.6),
        ({"prompt": "answer@9"}, 0.0),
        ({"prompt": "answer@8", "land": "de"}, 0.6),
        ({"prompt": "answer@9", "land": "de"}, 0.5),
    ],
)
def test_the_largest_share_of_prompt_and_slices_counts(context: dict[str, str], share: float) -> None:
    evaluator = ActiveEvaluator(
        CONTRACT, "refuses", "v", lambda answer: Evaluation(False), HourlyBudget(CONTRACT.evaluators["refuses"].budget)
    )
    assert evaluator.share(Answer("bot", "1", "a", 0, "Hello.", context=context)) == share
