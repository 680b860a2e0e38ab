"""The section `alerts` of a contract: reading, writing and error messages."""

from __future__ import annotations

import re

import pytest
from barograph import Contract, ContractError, dump_contract, parse_contract
from barograph.contract.alerts import AlertRule, Alerts

HEAD = """
contract: 1
model: m
windows: [{length: 15m, hop: 1m}, {length: 1h, hop: 5m}]
fields:
  x: {type: float}
  city: {type: category}
  score: {type: float}
"""


def error_text(text: str) -> str:
    with pytest.raises(ContractError) as caught:
        parse_contract(f"{HEAD}alerts: {text}", "c.yaml")
    return "\n".join(map(str, caught.value.problems))


def test_messages_name_the_problem_and_the_remedy() -> None:
    for text, expected in (
        ("{rules: {psi-majr: {}}}", "c.yaml:9: alerts.rules.psi-majr: the key 'psi-majr' is unknown; did you"),
        ("{rules: {psi-major: {fields: [temp]}}}", "'temp' is not a field of this contract; write the name of one"),
        ("{rules: {psi-major: {fields: [score]}}}", "the rule psi-major does not apply to the field 'score'"),
        ("{rules: {unseen-rate: {fields: [x]}}}", "the rule unseen-rate does not apply to the field 'x'"),
        ("{rules: {silence: {fields: [x]}}}", "the rule silence has no fields; remove it"),
        ("{rules: {psi-major: {threshold: 0.2, clear: 0.3}}}", "0.3 is above the threshold (0.2), so it would clear"),
        ("{rules: {performance-drop: {fast_threshold: 0.04}}}", "0.04 is below the threshold (0.05); write a"),
        ("{rules: {psi-major: {fast_threshold: 0.1}}}", "0.1 is below the threshold (0.2); write a larger number"),
        ("{rules: {psi-major: {severity: off}}}", "'off' is unknown; write one of page, ticket, none"),
        ("{windows: {long: 1d}}", "alerts.windows.long: no window of this contract has this length"),
        ("{windows: {long: 15m, short: 1h}}", "alerts.windows.short: is longer than the long window"),
        ("{rules: {psi-major: {windows: {short: 2h}}}}", "alerts.rules.psi-major.windows.short: no window"),
        (
            "{rules: {cbpe-drop: {windows: {short: 15m}}}}\nlabel: {type: bool, positive: true}",
            "alerts.rules.cbpe-drop.windows: performance needs one window, a multiple of 1h; write only short",
        ),
        ("{every: 15s}", "alerts.every: is not a multiple of ten seconds"),
        ("{rules: {performance: {}}}", "the rule has no threshold; write slo.performance"),
        ("{rules: {latency: {}}}", "write slo.latency_ms and slo.latency_share"),
        ("{rules: {rate-above-promise: {}}}", "write promise of an evaluator, or remove"),
        ("{rules: {gold-labels: {threshold: 9}}}", "the rule gold-labels has no threshold; remove it"),
    ):
        assert expected in error_text(text), text


def test_a_performance_rule_reads_no_window_of_the_last_events() -> None:
    text = (
        "contract: 1\nmodel: m\npane: 5m\nwindows: [{length: 1h, hop: 5m}, {length: SPAN, hop: 1h, last: 500}]\n"
        "label: {type: bool, positive: true}\nalerts: {rules: {cbpe-drop: {windows: {short: SPAN}}}}"
    )
    for span in ("7d", "1d"):
        assert parse_contract(text.replace("SPAN", span)).alerts.rule("cbpe-drop").short_s is not None
    with pytest.raises(ContractError, match=r"windows\.short: performance is not measured over the last events"):
        parse_contract(text.replace("SPAN", "14d"))


def test_a_target_for_a_range_needs_a_numeric_field_with_a_range() -> None:
    fields = "{city: {type: category}, open: {type: float}, age: {type: float, range: [0, 120]}}"
    text = f"contract: 1\nmodel: m\nfields: {fields}\nslo: "
    for slo, message in (
        ("{in_range: {gone: 0.9}}", "there is no field 'gone'"),
        ("{in_range: {city: 0.9}}", "the field 'city' has no range"),
        ("{in_range: {open: 0.9}}", "the field 'open' has no range"),
        ("{in_range: {age: 1.5}}", "1.5 is out of range"),
    ):
        with pytest.raises(ContractError, match=re.escape(message)):
            parse_contract(text + slo)
    good = parse_contract(text + "{in_range: {age: 0.95}}")
    assert good.slo.in_range == {"age": 0.95}
    assert parse_contract(dump_contract(good)) == good


def test_an_unknown_rule_of_a_contract_that_code_creates_is_reported() -> None:
    with pytest.raises(ContractError, match=r"alerts\.rules\.psi: 'psi' is not a rule; write one of psi-major"):
        dump_contract(Contract(model="m", alerts=Alerts(rules={"psi": AlertRule()})))
