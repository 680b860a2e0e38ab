"""The section `rollback`: when a version of a prompt is rolled back."""

from __future__ import annotations

import pytest
from barograph import ContractError, parse_contract

ARMS = "arms: {shares: {answer@7: 0.9, answer@8: 0.1}}\n"
HEAD = "contract: 1\nmodel: m\n"


def problems_of(text: str) -> list[str]:
    with pytest.raises(ContractError) as caught:
        parse_contract(HEAD + text, "c.yaml")
    return [str(each) for each in caught.value.problems]


def test_faults_are_named_with_their_line() -> None:
    rollback = f"{ARMS}rollback: {{prompt: answer, margins: {{errors: 0.1}}"
    for text, problem in (
        ("rollback: {prompt: answer, margins: {errors: 0.1}}", "3: rollback: compares arms; write arms, with"),
        (f"{ARMS}rollback: {{margins: {{errors: 0.1}}}}", "4: rollback.prompt: is missing; write prompt:"),
        (f"{ARMS}rollback: {{prompt: answer, margins: {{}}}}", "4: rollback.margins: has no criterion"),
        (f"{ARMS}rollback: {{prompt: other, margins: {{errors: 0.1}}}}", "the arm 'answer@7' is no version of other"),
        (f"{rollback}}}".replace("answer@8", "answer@candidate"), "the arm 'answer@candidate' is no version of answer"),
        (f"{rollback}, to: production}}", "rollback.to: 'production' is the label that moves"),
        (f"{rollback}, to: 0}}", "rollback.to: '0' is a number; write a version from 1"),
        (f"{rollback}, events: 10}}", "rollback.events: '10' is out of range or not a whole number"),
        (f"{rollback}, mode: now}}", "rollback.mode: 'now' is unknown; write one of propose, act"),
    ):
        assert any(problem in each for each in problems_of(text)), (text, problems_of(text))
