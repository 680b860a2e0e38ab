"""The section `evaluators`, and the contracts that are derived from it."""

from __future__ import annotations

import pytest
from barograph import ContractError, dump_contract, parse_contract
from barograph.contract import Contract
from barograph.contract.evaluator_contracts import evaluator_contracts
from barograph.contract.evaluators import Evaluator, EvaluatorBudget

HEAD = "contract: 1\nmodel: bot\ntext: {content: keep, sample: 0.1}\n"


def problems_of(text: str, head: str = HEAD) -> list[str]:
    with pytest.raises(ContractError) as caught:
        parse_contract(head + text, "c.yaml")
    return [str(each).removeprefix("c.yaml:") for each in caught.value.problems]


def test_every_key_is_read_and_written() -> None:
    contract = parse_contract(
        HEAD
        + """
evaluators:
  cited: {check: citations, documents: documents, share: 0.5, prompts: {answer@8: 1}}
  grounded: {check: grounding, documents: documents, at_least: 0.25}
  form: {check: json, schema: forms/answer.json, promise: 1}
  polite: {check: pattern, pattern: "(?i)thank"}
  faithful: {judge: faithful.yaml, endpoint: small, budget: {calls: 600, tokens: 1000000, usd: 1}}
  agrees: {consistency: 4, endpoint: small, at_least: 0.5}
  same: {consistency: 2, endpoint: small, at_least: 1, compare: exact, temperature: 1, max_tokens: 20}
  grounds: {judge: grounds.yaml, endpoint: small, documents: documents}
  helpful: {judge: helpful.yaml, endpoint: small, anchors: helpful.jsonl, anchors_every: 90m}
"""
    )
    assert contract.evaluators == {
        "cited": Evaluator(check="citations", documents="documents", share=0.5, prompts={"answer@8": 1.0}),
        "grounded": Evaluator(check="grounding", documents="documents", at_least=0.25),
        "form": Evaluator(check="json", schema="forms/answer.json", promise=1.0),
        "polite": Evaluator(check="pattern", pattern="(?i)thank"),
        "faithful": Evaluator(
            judge="faithful.yaml",
            endpoint="small",
            budget=EvaluatorBudget(calls=600, tokens=1_000_000, usd=1.0),
        ),
        "agrees": Evaluator(consistency=4, endpoint="small", at_least=0.5),
        "same": Evaluator(
            consistency=2,
            endpoint="small",
            at_least=1.0,
            compare="exact",
            temperature=1.0,
            max_tokens=20,
        ),
        "grounds": Evaluator(judge="grounds.yaml", endpoint="small", documents="documents"),
        "helpful": Evaluator(judge="helpful.yaml", endpoint="small", anchors="helpful.jsonl", anchors_every_s=5_400),
    }
    assert parse_contract(dump_contract(contract)) == contract


def test_a_contract_without_the_section_keeps_its_id() -> None:
    assert Contract(model="m").id == Contract(model="m", evaluators={}).id
    assert Contract(model="m", evaluators={"a": Evaluator(check="refusal")}).id == "b3cd8a037c9f39fc"
    assert Contract(model="m").id != Contract(model="m", evaluators={"a": Evaluator(check="refusal")}).id


def test_a_contract_without_a_promise_keeps_its_id() -> None:
    def contract_with(promise: float | None) -> Contract:
        return Contract(model="m", evaluators={"a": Evaluator(check="refusal", promise=promise)})

    assert contract_with(None).id == "b3cd8a037c9f39fc"
    assert contract_with(1).id == contract_with(1.0).id != contract_with(None).id


def test_anchors_change_the_id_only_where_they_are() -> None:
    plain = Contract(model="m", evaluators={"a": Evaluator(judge="a.yaml", endpoint="e")})
    assert plain.id == "58f52a7d479dc394", "the id that it had before anchors existed"
    with_anchors = Evaluator(judge="a.yaml", endpoint="e", anchors="a.jsonl")
    assert plain.id != Contract(model="m", evaluators={"a": with_anchors}).id


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("a: {}", "4: evaluators.a: has neither check, judge nor consistency; write one of them"),
        ("a: {check: refusal, judge: a.yaml}", "4: evaluators.a: has both check and judge; write one of them"),
        ("a: {judge: a.yaml, consistency: 2}", "4: evaluators.a: has both judge and consistency; write one of them"),
        ("a: {consistency: 2, endpoint: e}", "4: evaluators.a.at_least: is missing; self-consistency needs it"),
        ("a: {consistency: 0}", "4: evaluators.a.consistency:"),
        (
            "a: {judge: a.yaml, endpoint: e, compare: exact}",
            "4: evaluators.a.compare: has no effect with a judge; remove it",
        ),
        (
            "a: {consistency: 2, endpoint: e, at_least: 1, documents: d}",
            "4: evaluators.a.documents: has no effect with self-consistency; remove it",
        ),
        ("a: {check: citations}", "4: evaluators.a.documents: is missing; the check citations needs it"),
        ("a: {judge: a.yaml}", "4: evaluators.a.endpoint: is missing; a judge needs it"),
        ("a: {check: refusal, schema: s}", "4: evaluators.a.schema: has no effect with the check refusal; remove it"),
        (
            "a: {judge: a.yaml, endpoint: e, pattern: x}",
            "4: evaluators.a.pattern: has no effect with a judge; remove it",
        ),
        ("a: {check: refusal, budget: {calls: 1}}", "4: evaluators.a.budget: has no effect with a check, which calls"),
        (
            "a: {consistency: 2, endpoint: e, at_least: 0.5, anchors: a.jsonl}",
            "4: evaluators.a.anchors: has no effect with self-consistency, which has no rubric; remove it",
        ),
        (
            "a: {check: refusal, anchors: a.jsonl}",
            "4: evaluators.a.anchors: has no effect with a check, whose rules do not drift; remove it",
        ),
        (
            "a: {judge: a.yaml, endpoint: e, anchors_every: 1h}",
            "4: evaluators.a.anchors_every: has no effect without anchors; write anchors: FILE, or remove it",
        ),
        (
            "a: {judge: a.yaml, endpoint: e, anchors: ../a.jsonl}",
            "4: evaluators.a.anchors: '../a.jsonl' is outside of",
        ),
        ("a b: {check: refusal}", "4: evaluators['a b']: 'a b' is not a name of an evaluator"),
        ("a: {check: json, schema: ../s.json}", "4: evaluators.a.schema: '../s.json' is outside of"),
        (
            "a: {check: json, schema: /etc/passwd}",
            "4: evaluators.a.schema: '/etc/passwd' is outside of",
        ),
        ("a: {check: refusal, share: 1.5}", "4: evaluators.a.share:"),
        ("a: {check: refusal, slices: {country=de: 2}}", "4: evaluators.a.slices['country=de']: 2 is out of range"),
        (
            "a: {check: refusal, slices: {country=de: 0.5}}",
            "4: evaluators.a.slices: 'country=de' is no value of a slice from context",
        ),
        ("a: {check: refusal, promise: 0}", "4: evaluators.a.promise:"),
        ("a: {check: refusal, promise: 5}", "4: evaluators.a.promise:"),
        ("a: {check: refusals}", "4: evaluators.a.check:"),
    ],
)
def test_problems_are_named(entry: str, problem: str) -> None:
    assert problems_of(f"evaluators: {{{entry}}}")[0].startswith(problem)


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
        assert each.arms is not None
        assert each.arms.unit == "context.user"
        assert each.arms.margins == {}
        assert each.label is not None
        assert (each.label.positive, each.label.negative) == ("faulty", "sound")
        assert each.evaluators == {}
        assert evaluator_contracts(each) == []
