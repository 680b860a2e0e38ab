"""The keys of the four signals: crossed slices, multiclass labels, arms, performance targets and seasons."""

from __future__ import annotations

import pytest
from barograph import ContractError, dump_contract, parse_contract
from barograph.contract import Arms, LabelSpec, ShadowTest, Slice, Slo
from barograph.contract.check import PERFORMANCE_METRICS, label_kind

HEAD = """
contract: 1
model: m
fields:
  x: {type: float, policy: reject}
  city: {type: category}
  late: {type: float, from: scores.late}
  sure: {type: float, from: confidence}
"""

WHOLE = f"""{HEAD}
slices:
  both: {{from: features.city * context.device, values: [a * b], sketches: [x]}}
season: hour_of_week
label: {{type: category, classes: [late, early, 3], horizon: 7d, mature: 0.9}}
arms: {{shares: {{a: 0.25, b: 0.75}}, unit: context.user, control: b, margins: {{errors: 0.01}}, days: 56}}
shadow: {{candidate: 4, of: "3", margins: {{accuracy: 0.01, missing: 0.1}}, days: 56, copy: 3b, prices: {{t: 2e-6}}}}
serving: 3
promotion: required
slo: {{performance: {{accuracy: 0.8, log_loss: 1}}}}
"""


def error_text(text: str) -> str:
    with pytest.raises(ContractError) as caught:
        parse_contract(HEAD + text, "c.yaml")
    return "\n".join(map(str, caught.value.problems))


def test_every_key_is_read_and_written() -> None:
    contract = parse_contract(WHOLE)
    assert contract.fields[0].policy == "reject"
    assert [field.source for field in contract.fields[2:]] == ["scores.late", "confidence"]
    assert contract.slices == (
        Slice(name="both", source="features.city * context.device", values=("a * b",), sketches=("x",)),
    )
    assert contract.slices[0].sources == ("features.city", "context.device")
    assert contract.label == LabelSpec(type="category", classes=("late", "early", "3"), horizon_s=7 * 86400, mature=0.9)
    shares = {"a": 0.25, "b": 0.75}
    assert contract.arms == Arms(shares=shares, unit="context.user", control="b", margins={"errors": 0.01}, days=56)
    assert contract.arms.names == ("b", "a")
    assert Arms(shares=shares).names == ("a", "b")
    margins = {"accuracy": 0.01, "missing": 0.1}
    assert contract.shadow == ShadowTest(candidate="4", of="3", margins=margins, days=56, copy="3b", prices={"t": 2e-6})
    assert contract.slo == Slo(performance={"accuracy": 0.8, "log_loss": 1.0})
    assert contract.season == "hour_of_week"
    assert (contract.serving, contract.promotion) == ("3", "required")
    assert parse_contract(dump_contract(contract)) == contract


def test_the_kind_of_model_depends_on_its_label() -> None:
    assert label_kind(LabelSpec(type="bool")) == "binary"
    assert label_kind(LabelSpec(type="category", positive="yes")) == "binary"
    assert label_kind(LabelSpec(type="category", classes=("a", "b", "c"))) == "classes"
    assert label_kind(LabelSpec(type="float")) == "number"
    assert all(PERFORMANCE_METRICS.values())


def test_failed_checks_are_reported() -> None:
    shadow = "shadow: {candidate: 4, of: 3, "
    for text, expected in (
        ("slices: {s: {from: features.city * features.city}}", "crosses a source with itself; write each once"),
        ("slices: {s: {from: features.city * nothing}}", "'nothing' is not a source of a slice"),
        ("slices: {s: {from: features.city * features.x}}", "the field 'x' is a float; slice by a category"),
        ("slices: {s: {from: features.city * arm, values: [a]}}", "write 2 values joined by ' * '"),
        ("slices: {city: {sketches: [city]}}", "'city' is not a numeric field of this contract"),
        ("label: {type: bool, classes: [a, b]}", "a bool has no classes; write type category"),
        ("label: {type: category, classes: [a, b], positive: a}", "a model with classes has no positive class"),
        ("label: {type: category, classes: [a]}", "label.classes"),
        ("label: {type: bool, mature: 0}", "label.mature"),
        ("arms: {shares: {a: 0.5, b: 0.4}}", "the shares sum to 0.9; write shares that sum to 1"),
        ("arms: {shares: {a: 1}}", "a test has two arms or more"),
        ("arms: {shares: {a: 0.5, b: 0.5}, unit: user}", "'user' is not a unit; write context.NAME"),
        (
            "label: {type: bool}\nshadow: {candidate: 3, of: 3, margins: {accuracy: 0.1}}",
            "'3' is the primary too; write the version of the candidate",
        ),
        ("label: {type: bool}\nshadow: {candidate: 4, of: 3, margins: {}}", "has no criterion; write at least one"),
        ("promotion: required", "serving: is required with promotion: required"),
        (
            "serving: 2\nshadow: {candidate: 4, of: 3, margins: {latency: 0.1}}",
            "'3' is not the version of serving, '2'",
        ),
        *(
            (f"label: {{{label}}}\n{shadow}margins: {settings}}}", expected)
            for label, settings, expected in (
                ("type: bool", "{recall: 0.1}", "write one of accuracy, brier, log_loss, auc, agree"),
                ("type: category, classes: [a, b]", "{auc: 0.1}", "'auc' is not a criterion of this"),
                ("type: float", "{auc: 0.1}", "'auc' is not a criterion of this kind of model; write"),
                ("type: float", "{agreement: 0.1}", "'agreement' is not a criterion of this kind of"),
                ("type: bool", "{auc: 1}", "1 allows every loss, as it is a share; write a number be"),
                ("type: bool", "{auc: 0.1}, planned_days: 20", "planned_days"),
                ("type: bool", "{auc: 0.1}, copy: 4", "'4' is the version in candidate too; give the"),
                ("type: bool", "{auc: 0.1}, copy: 3", "'3' is the version in of too; give the copy a"),
                ("type: bool", "{cost: 0.1}", "cost requires prices; write shadow.prices, such as"),
                ("type: bool", "{cost: 0.1}, prices: {tokens: 0}", "cost requires prices; write shad"),
                ("type: bool", "{auc: 0.1}, candidate_prices: {t: 1}", "the primary has no prices; wr"),
                ("type: bool", "{latency_slo: 0.1}", "latency_slo requires a target; write slo.latency"),
            )
        ),
        (
            "label: {type: float}\nshadow: {candidate: 4, of: 3, margins: {brier: 0.1}}",
            "write one of mae, latency, latency_p50",
        ),
        (
            "shadow: {candidate: 4, of: 3, margins: {latency: 0.1, brier: 0.1}}",
            "'brier' requires ground truth; write label, or one of agreement, latency",
        ),
        (
            "raw: none\nshadow: {candidate: 4, of: 3, margins: {latency: 0.1}}",
            "are counted from raw events; write raw: all or raw: {share: 0.1}",
        ),
        ("arms: {shares: {a: 0.5, b: 0.5}, control: c}", "'c' is not an arm; write one of a, b"),
        (
            "arms: {shares: {a: 0.5, b: 0.5}, margins: {accuracy: 0.1}}",
            "'accuracy' requires ground truth; write label, or one of latency, errors",
        ),
        (
            "label: {type: bool}\narms: {shares: {a: 0.5, b: 0.5}, margins: {missing: 0.1}}",
            "'missing' is not a criterion of this kind of model; write one of accuracy, brier, log_loss, latency",
        ),
        ("label: {type: bool}\nshadow: {candidate: 4, of: 3, margins: {accuracy: 0.1}, days: 7}", "28"),
        ("slo: {performance: {auc: 0.7}}", "performance requires ground truth; write label"),
        (
            "label: {type: float}\nslo: {performance: {auc: 0.7}}",
            "'auc' is not a metric of this kind of model; write one of mae",
        ),
        ("season: daily", "season"),
    ):
        assert expected in error_text(text + "\n"), text


def test_sources_require_the_types_of_their_values() -> None:
    text = "contract: 1\nmodel: m\nfields:\n  a: {type: int, from: scores.a}\n  b: {type: category, from: confidence}\n"
    with pytest.raises(ContractError) as caught:
        parse_contract(text)
    message = "\n".join(map(str, caught.value.problems))
    assert "scores are probabilities, not int; write float" in message
    assert "confidence cannot be a category; write float" in message
