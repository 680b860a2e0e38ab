from typing import Any

import msgspec
import pyarrow as pa
import pytest
from barograph import Contract, ContractError, dump_contract, parse_contract
from barograph.contract import Arms, LabelSpec, kinds
from barograph.contract.alerts import AlertRule, Alerts
from barograph.contract.check import check_failures
from barograph.contract.evaluator_contracts import evaluator_contracts
from barograph.contract.label_values import LabelReader
from barograph.contract.model import DayKind, RawShareKind
from barograph.contract.sections import NamedKind, SectionKind, keys_of, record_of, settings
from barograph.contract.yaml_text import flow_map
from barograph.contract.yaml_tree import read_tree
from barograph.publisher.label_columns import read_labels
from hypothesis import example, given
from hypothesis import strategies as st


def value_of(kind: kinds.ValueKind) -> Any:
    """Make a value that is not the default of any key."""
    match kind:
        case SectionKind(struct):
            return struct(**{each.member: value_of(each.key.kind) for each in keys_of(struct)})
        case NamedKind(struct):
            return (struct(name="a", **{each.member: value_of(each.key.kind) for each in keys_of(struct)}),)
        case kinds.ChoiceKind(words):
            return words[-1]
        case kinds.NumberKind(low, high):
            return 0.625 if low < 0.625 <= high else high
        case kinds.IntegerKind(low, high):
            return min(low + 1234, high)
        case kinds.DurationKind():
            return 5_415
        case kinds.FlagKind():
            return True
        case RawShareKind():
            return 0.375
        case DayKind():
            return "2026-11-29"
        case kinds.ListKind(item, count):
            return (value_of(item), "no")[: max(count, 1)]
        case kinds.MapKind(item):
            return {"1.0": value_of(item)}
        case kinds.RecordKind(keys):
            return {keys[0].name: value_of(keys[0].kind)}
    return "yes: 1"


def sections_of(struct: type[msgspec.Struct]) -> set[type[msgspec.Struct]]:
    """Find the sections below a struct, itself included."""
    sections = {struct}
    waiting = [each.key.kind for each in keys_of(struct)]
    while waiting:
        match waiting.pop():
            case SectionKind(inner) | NamedKind(inner) if inner not in sections:
                sections |= sections_of(inner)
            case kinds.ListKind(item) | kinds.MapKind(item):
                waiting.append(item)
            case kinds.RecordKind(keys):
                waiting += [key.kind for key in keys]
    return sections


def test_every_key_is_read_as_it_is_written() -> None:
    for struct in sections_of(Contract) - {Contract}:
        named = {"name": "a"} if "name" in struct.__struct_fields__ else {}
        value = struct(**named, **{each.member: value_of(each.key.kind) for each in keys_of(struct)})
        text = flow_map(settings(value))
        diagnostics = kinds.Diagnostics("c.yaml")
        kind = NamedKind(struct) if named else SectionKind(struct)
        read = kind.read(read_tree(f"a: {text}" if named else text, "c.yaml"), (), diagnostics)
        assert (diagnostics.problems, read) == ([], (value,) if named else value), struct
        assert list(settings(value)) == [key.name for key in record_of(struct).keys], "each differs from its default"


HEAD = """contract: 1
model: m
text: {content: keep, sample: 0.1}
windows: [{length: 15m, hop: 1m}, {length: 1h, hop: 5m}]
fields:
  x: {type: float}
  city: {type: category}
  age: {type: float, range: [0, 120]}
  score: {type: float}
"""
ARMS = "arms: {shares: {answer@7: 0.9, answer@8: 0.1}}\n"
ROLLBACK = "{prompt: answer, margins: {errors: 0.1}"
PROBLEMS = {
    "alerts": (
        ("{rules: {psi-majr: {}}}", "alerts.rules.psi-majr: the key 'psi-majr' is unknown; did you"),
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
    ),
    "evaluators": (
        ("{a: {}}", ".a: has neither check, judge nor consistency; write one of them"),
        ("{a: {judge: a.yaml, consistency: 2}}", ".a: has both judge and consistency; write one of them"),
        ("{a: {consistency: 2, endpoint: e}}", ".a.at_least: is missing; self-consistency needs it"),
        ("{a: {check: citations}}", ".a.documents: is missing; the check citations needs it"),
        ("{a: {check: refusal, schema: s}}", ".a.schema: has no effect with the check refusal; remove it"),
        ("{a: {check: refusal, budget: {calls: 1}}}", ".a.budget: has no effect with a check, which calls"),
        ("{a: {check: refusal, anchors: a.jsonl}}", ".a.anchors: has no effect with a check, whose rules do not drift"),
        ("{a: {consistency: 2, endpoint: e, at_least: 0.5, anchors: a.jsonl}}", "anchors: has no effect with self-co"),
        ("{a: {judge: a.yaml, endpoint: e, anchors_every: 1h}}", ".a.anchors_every: has no effect without anchors"),
        ("{a: {check: json, schema: ../s.json}}", ".a.schema: '../s.json' is outside of"),
        ("{a b: {check: refusal}}", "['a b']: 'a b' is not a name of an evaluator"),
        ("{a: {check: json, schema: /etc/passwd}}", ".a.schema: '/etc/passwd' is outside of"),
        ("{a: {check: refusal, share: 1.5}}", ".a.share:"),
        ("{a: {check: refusal, slices: {country=de: 2}}}", ".a.slices['country=de']: 2 is out of range"),
        ("{a: {check: refusal, slices: {country=de: 0.5}}}", ".a.slices: 'country=de' is no value of a slice"),
        ("{a: {check: refusal, promise: 5}}", ".a.promise:"),
    ),
    "slo": (
        ("{in_range: {gone: 0.9}}", "there is no field 'gone'"),
        ("{in_range: {city: 0.9}}", "the field 'city' has no range"),
        ("{in_range: {x: 0.9}}", "the field 'x' has no range"),
        ("{in_range: {age: 1.5}}", "1.5 is out of range"),
    ),
    "sources": (
        ("{name: {owner: ana}}", "fields"),
        ("{name: {fields: [rows]}}", "'rows' is no field of the contract"),
        ("{name: {fields: [x], table: t}}", "table"),
    ),
    "consumers": (
        ("{name: {owner: ana}}", "needs exactly one of group, user, dashboard, rule, caller, and none is set"),
        ("{name: {owner: ana, group: g, user: u}}", "and group and user are set"),
        ("{name: {owner: ana, group: g, fields: [rows]}}", "'rows' is no field of the contract"),
        ("{name: {owner: ana, caller: web}}", "needs caller of the contract"),
    ),
    "rollback": (
        (f"{ROLLBACK}}}", "rollback: compares arms; write arms, with"),
        (f"{{margins: {{errors: 0.1}}}}\n{ARMS}", "rollback.prompt: is missing; write prompt:"),
        (f"{{prompt: answer, margins: {{}}}}\n{ARMS}", "rollback.margins: has no criterion"),
        (f"{{prompt: other, margins: {{errors: 0.1}}}}\n{ARMS}", "the arm 'answer@7' is no version of other"),
        (f"{ROLLBACK}}}\n{ARMS}".replace("answer@8", "answer@b"), "the arm 'answer@b' is no version of answer"),
        (f"{ROLLBACK}, to: production}}\n{ARMS}", "rollback.to: 'production' is the label that moves"),
        (f"{ROLLBACK}, to: 0}}\n{ARMS}", "rollback.to: '0' is a number; write a version from 1"),
        (f"{ROLLBACK}, events: 10}}\n{ARMS}", "rollback.events: '10' is out of range or not a whole number"),
        (f"{ROLLBACK}, mode: now}}\n{ARMS}", "rollback.mode: 'now' is unknown; write one of propose, act"),
    ),
}


def problems_of(text: str, head: str = HEAD) -> list[str]:
    with pytest.raises(ContractError) as caught:
        parse_contract(head + text, "c.yaml")
    return [str(each).removeprefix("c.yaml:") for each in caught.value.problems]


@pytest.mark.parametrize("section", PROBLEMS)
def test_problems_are_named_with_their_line_and_the_remedy(section: str) -> None:
    for text, expected in PROBLEMS[section]:
        reported = problems_of(f"{section}: {text}")
        assert any(each.startswith(("10: ", "11: arms.")) and expected in each for each in reported), (text, reported)


def test_a_performance_rule_reads_no_window_of_the_last_events() -> None:
    text = (
        "contract: 1\nmodel: m\npane: 5m\nwindows: [{length: 1h, hop: 5m}, {length: SPAN, hop: 1h, last: 500}]\n"
        "label: {type: bool, positive: true}\nalerts: {rules: {cbpe-drop: {windows: {short: SPAN}}}}"
    )
    for span in ("7d", "1d"):
        assert parse_contract(text.replace("SPAN", span)).alerts.rule("cbpe-drop").short_s is not None
    with pytest.raises(ContractError, match=r"windows\.short: performance is not measured over the last events"):
        parse_contract(text.replace("SPAN", "14d"))


def test_a_target_for_a_range_is_read_as_it_is_written() -> None:
    good = parse_contract(HEAD + "slo: {in_range: {age: 0.95}}")
    assert good.slo.in_range == {"age": 0.95}
    assert parse_contract(dump_contract(good)) == good


def test_an_unknown_rule_of_a_contract_that_code_creates_is_reported() -> None:
    with pytest.raises(ContractError, match=r"^contract 'm': alerts\.rules\.psi: 'psi' is not a rule; write one of"):
        dump_contract(Contract(model="m", alerts=Alerts(rules={"psi": AlertRule()})))


def test_evaluators_need_the_text_of_answers() -> None:
    entry = "evaluators: {a: {check: refusal}}"
    assert "write text: {content: redact, sample: 0.1}" in problems_of(entry, "contract: 1\nmodel: m\n")[0]
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
    assert [each.model for each in derived] == ["m.refuses", "m.faithful", "m.agrees"]
    for each in derived:
        assert parse_contract(dump_contract(each)) == each
        assert (each.team, each.owners, each.route, each.pane_s) == ("search", ("a@example.org",), "on-call", 30)
        assert each.arms == Arms(shares={"answer@7": 0.5, "answer@8": 0.5}, unit="context.user")
        assert each.label
        assert (each.label.positive, each.label.negative) == ("faulty", "sound")
        assert each.evaluators == {}
        assert evaluator_contracts(each) == []


FLAG = LabelSpec(type="bool", positive=True)
NAMED = LabelSpec(type="bool", positive="bad", negative="good")
OPEN = LabelSpec(type="category", positive="1")
DIGITS = LabelSpec(type="category", classes=("1", "2", "3"))
PAIR = LabelSpec(type="category", classes=("0", "1"))
NUMBER = LabelSpec(type="float")
ALL = (FLAG, NAMED, OPEN, DIGITS, PAIR, NUMBER, LabelSpec(type="bool", positive="0", negative="1"))


def read_column(label: LabelSpec, value: Any) -> Any:
    (result,) = read_labels(label, pa.array([value])).to_pylist()
    return result


TRUTHS = (True, 1, 1.0, "1", "1.0", "true", "True", "TRUE", "yes", "Yes", " y ", "t")
FALSITIES = (False, 0, 0.0, "0", "0.0", "false", "False", "no", "NO", "n", "f")
CASES: list[tuple[LabelSpec, Any, Any]] = [
    *((FLAG, value, True) for value in TRUTHS),
    *((FLAG, value, False) for value in FALSITIES),
    *((FLAG, value, None) for value in (2, 0.5, "maybe", "", "good", -1)),
    *((NAMED, value, True) for value in ("bad", "Bad", *TRUTHS)),
    *((NAMED, value, False) for value in ("good", *FALSITIES)),
    (NAMED, "ugly", None),
    *((PAIR, value, "1") for value in TRUTHS),
    *((PAIR, value, "0") for value in FALSITIES),
    *((OPEN, value, "1") for value in TRUTHS),
    (OPEN, "fraud", "fraud"),
    (OPEN, 2.0, "2"),
    (OPEN, " ", None),
    *((DIGITS, value, "2") for value in (2, 2.0, "2", "2.0")),
    (DIGITS, True, None),
    (DIGITS, 4, None),
    *((NUMBER, value, 3.5) for value in (3.5, "3.5", " +3.5", "35e-1")),
    *((NUMBER, value, None) for value in (True, "nan", "inf", "", "three", "1_0")),
]


def test_every_form_of_a_value_is_one_label() -> None:
    for label, value, expected in CASES:
        for result in (LabelReader(label).read(value), read_column(label, value)):
            assert (result, type(result)) == (expected, type(expected)), (label, value)
    assert [LabelReader(None).read(value) for value in (True, 1, "x")] == [True, 1, "x"], "no contract"


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([*TRUTHS, *FALSITIES, "bad", "good", "2"]),
    st.text(st.characters(codec="utf-8"), max_size=4),
)


@given(st.sampled_from(ALL), VALUES)
@example(NUMBER, "१")
@example(FLAG, "１")
def test_a_column_is_read_as_its_single_labels(label: LabelSpec, value: Any) -> None:
    single, column = LabelReader(label).read(value), read_column(label, value)
    assert single == column or (label.type == "category" and isinstance(value, float) and float(single or 0) == value)
    if single is not None:
        assert LabelReader(label).read(single) == single, "reading is idempotent"


def test_two_values_are_not_one() -> None:
    same = "is the value of positive too"
    for label, message in (
        (LabelSpec(type="category", positive="a", negative="b"), "only a bool has two values"),
        (LabelSpec(type="bool", positive="late", negative="late"), same),
        (LabelSpec(type="bool", positive="late", negative="yes"), same),
        (LabelSpec(type="bool", positive="0", negative="no"), same),
        (LabelSpec(type="bool", negative="1"), same),
    ):
        (failure,) = check_failures(Contract(model="m", label=label))
        assert (failure.path, message in failure.message) == (("label", "negative"), True), failure
