"""The section `evaluators`, and the contracts that are derived from it."""

from __future__ import annotations

import pytest
from barograph import ContractError, dump_contract, parse_contract
from barograph.contract import Arms
from barograph.contract.evaluator_contracts import evaluator_contracts

HEAD = "contract: 1\nmodel: bot\ntext: {content: keep, sample: 0.1}\n"


def problems_of(text: str, head: str = HEAD) -> list[str]:
    with pytest.raises(ContractError) as caught:
        parse_contract(head + text, "c.yaml")
    return [str(each).removeprefix("c.yaml:") for each in caught.value.problems]


def test_problems_are_named() -> None:
    for entry, problem in (
        ("a: {}", ".a: has neither check, judge nor consistency; write one of them"),
        ("a: {judge: a.yaml, consistency: 2}", ".a: has both judge and consistency; write one of them"),
        ("a: {consistency: 2, endpoint: e}", ".a.at_least: is missing; self-consistency needs it"),
        ("a: {check: citations}", ".a.documents: is missing; the check citations needs it"),
        ("a: {check: refusal, schema: s}", ".a.schema: has no effect with the check refusal; remove it"),
        ("a: {check: refusal, budget: {calls: 1}}", ".a.budget: has no effect with a check, which calls"),
        (
            "a: {check: refusal, anchors: a.jsonl}",
            ".a.anchors: has no effect with a check, whose rules do not drift; remove it",
        ),
        (
            "a: {consistency: 2, endpoint: e, at_least: 0.5, anchors: a.jsonl}",
            ".a.anchors: has no effect with self-consistency, which has no rubric; remove it",
        ),
        ("a: {judge: a.yaml, endpoint: e, anchors_every: 1h}", ".a.anchors_every: has no effect without anchors"),
        ("a: {check: json, schema: ../s.json}", ".a.schema: '../s.json' is outside of"),
        ("a b: {check: refusal}", "['a b']: 'a b' is not a name of an evaluator"),
        ("a: {check: json, schema: /etc/passwd}", ".a.schema: '/etc/passwd' is outside of"),
        ("a: {check: refusal, share: 1.5}", ".a.share:"),
        ("a: {check: refusal, slices: {country=de: 2}}", ".a.slices['country=de']: 2 is out of range"),
        ("a: {check: refusal, slices: {country=de: 0.5}}", ".a.slices: 'country=de' is no value of a slice"),
        ("a: {check: refusal, promise: 5}", ".a.promise:"),
    ):
        assert problems_of(f"evaluators: {{{entry}}}")[0].startswith(f"4: evaluators{problem}"), entry


def test_evaluators_need_the_text_of_answers() -> None:
    entry = "evaluators: {a: {check: refusal}}"
    assert "write text: {content: redact, sample: 0.1}" in problems_of(entry, "contract: 1\nmodel: bot\n")[0]
    redacted = HEAD.replace("keep", "redact")
    assert "write text: {content: keep}" in problems_of("evaluators: {a: {check: personal-data}}", redacted)[0]


def test_derived_contracts_are_valid_and_keep_times_people_and_arms() -> None:
    contract = parse_contract(
        HEAD
        + """
team: search
owners: [a@example.org]
route: on-call
pane: 30s
arms: {shares: {answer@7: 0.5, answer@8: 0.5}, unit: context.user, margins: {errors: 0.1}}
evaluators: {refuses: {check: refusal}, faithful: {judge: faithful.yaml, endpoint: small},
  agrees: {consistency: 4, endpoint: small, at_least: 0.5}}
"""
    )
    derived = evaluator_contracts(contract)
    assert [each.model for each in derived] == ["bot.refuses", "bot.faithful", "bot.agrees"]
    for each in derived:
        assert parse_contract(dump_contract(each)) == each
        assert (each.team, each.owners, each.route, each.pane_s) == ("search", ("a@example.org",), "on-call", 30)
        assert each.arms == Arms(shares={"answer@7": 0.5, "answer@8": 0.5}, unit="context.user")
        assert each.label
        assert (each.label.positive, each.label.negative) == ("faulty", "sound")
        assert each.evaluators == {}
        assert evaluator_contracts(each) == []
