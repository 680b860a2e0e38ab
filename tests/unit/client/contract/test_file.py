import json
import math
import re
import zoneinfo
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from barograph import Contract, ContractError, dump_contract, load_contract, parse_contract
from barograph.contract import Arms, Field, LabelSpec, RateThresholds, ShadowTest, Slice, Slo, Text, Thresholds, Window
from barograph.contract.alerts import AlertRule, Alerts
from barograph.contract.check import PERFORMANCE_METRICS, check_failures, label_kind
from barograph.contract.file import contract_record
from barograph.contract.model import FieldType, content_hash
from barograph.events import Label, Prediction
from barograph.schemas import FOLDER, event_schema, files, member_docs
from barograph.schemas.__main__ import main
from barograph.schemas.contract_schema import contract_schema
from hypothesis import given
from hypothesis import strategies as st

from tests.support.json_schema import faults

HEAD = "contract: 1\nmodel: m\n"


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with and without libyaml."""
    chosen = yaml.CSafeLoader if request.param == "libyaml" else yaml.SafeLoader
    monkeypatch.setattr("barograph.contract.yaml_tree._LOADER", chosen)


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ContractError) as caught:
        parse_contract(text, "c.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_defaults_unusual_numbers_and_texts_are_read() -> None:
    """All keys: `test_old_contracts_are_read_from_file_and_from_the_warehouse` in tests/contract."""
    assert parse_contract(HEAD) == Contract(model="m")
    contract = parse_contract(
        f"{HEAD}lateness: 0s\nout_of_order: 90s\nfields:\n  tokens: {{type: int, range: [1e0, +2.5E+3]}}\n"
        '  city: {type: category, pii: truncate, description: "where: from"}\n'
        'slices: {arm: {values: [a, NO, 7, "null"]}}'
    )
    assert (contract.lateness_s, contract.out_of_order_s) == (0, 90)
    assert contract.fields == (
        Field(name="tokens", type="int", source="features.tokens", low=1.0, high=2500.0),
        Field(name="city", type="category", source="features.city", pii="truncate", description="where: from"),
    )
    assert contract.slices == (Slice(name="arm", source="arm", values=("a", "NO", "7", "null")),)


def test_short_forms_and_names_are_read_as_they_are_meant(tmp_path: Path) -> None:
    for written, share in (("all", 1.0), ("none", 0.0), ("{share: 0.25}", 0.25)):
        assert parse_contract(f"{HEAD}raw: {written}\n").raw_share == share
    text = f"{HEAD}fields:\n  a: {{type: category}}\n  b: {{type: category, from: context.c}}\nslices: [a, b, arm, d]\n"
    sources = {dimension.name: dimension.source for dimension in parse_contract(text).slices}
    assert sources == {"a": "features.a", "b": "context.c", "arm": "arm", "d": "context.d"}
    for name in ("NO", "yes", "1", "1.0", "null", "~", "2024-01-01", "a b", "$x", "ß'\"\\", "<<x"):
        key = "'" + name.replace("'", "''") + "'" if name in ("~", "ß'\"\\") else name
        assert parse_contract(f"{HEAD}fields:\n  {key}: {{type: int}}\n").fields[0].name == name
    unlimited = parse_contract(f"{HEAD}fields: {{x: {{type: float, range: [null, ~]}}}}")
    assert unlimited == parse_contract(f"{HEAD}fields: {{x: {{type: float}}}}")
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + "description: größer\n").replace("\n", "\r\n").encode())
    assert load_contract(path).description == "größer", "a byte order mark and the line ends of Windows"
    with pytest.raises(ContractError, match=r"no\.yaml: cannot be read: no such file or directory; give the path"):
        load_contract(tmp_path / "no.yaml")


def test_all_problems_are_reported_at_once_in_order_of_lines() -> None:
    messages = problems(
        """contract: 1
modell: m
timezone: Mars/Olympus
pane: 7m
windows:
  - {length: 16m, hop: 3m}
  - {length: 1h}
fields:
  x: {type: flaot, critcal: yes}
  y: {type: category, range: [0, 1]}
  y: {type: int}
"""
    )
    assert messages == [
        "c.yaml:1: model: is missing; write model: flight-delay",
        "c.yaml:2: modell: the key 'modell' is unknown; did you mean model?",
        "c.yaml:3: timezone: 'Mars/Olympus' is not a time zone; write an IANA name such as America/New_York",
        "c.yaml:4: pane: 7m neither divides an hour nor is a multiple of one; write 1m, 5m or 1h",
        "c.yaml:6: windows[0].length: 16m is not a multiple of the hop 3m; change one of them",
        "c.yaml:7: windows[1].hop: is missing; write hop: 1m",
        "c.yaml:9: fields.x.type: 'flaot' is unknown; did you mean float?",
        "c.yaml:9: fields.x.critcal: the key 'critcal' is unknown; did you mean critical?",
        "c.yaml:10: fields.y.range: a category has no range; remove it",
        "c.yaml:11: fields.y: occurs twice (first in line 10); remove one",
    ]


def test_messages_name_the_line_the_problem_and_the_remedy() -> None:
    for line, message in (
        ("tint: red", "tint: the key 'tint' is unknown; write one of contract, model"),
        ("pane: 60", "pane: '60' is not a duration; write a whole number and a unit"),
        ("pane: ٣m", "pane: '٣m' is not a duration"),
        ("team:", "team: the value is empty; write text, or remove the key"),
        ("raw: some", "raw: write all, none or {share: 0.1}"),
        ("windows: []", "windows: the list is empty; write an entry"),
        ("windows: [{last: 5, length: 1d, hop: 1h}, {last: 5, length: 2d, hop: 1h}]", "already is the last 5; remove"),
        ("windows: [{last: 500, length: 7d, hop: 1h}]", "windows[0].length: 7d has more than 10,000 panes of 1m"),
        ("windows: [{length: 1h, hop: 5m}, {length: 60m, hop: 1m}]", "windows[0] already has the length 1h"),
        ("slice_min_n: 99999999999999999999999999", "is out of range or not a whole number; write a whole number"),
        ("fields: {x: {}}", "fields.x.type: is missing; write type: float"),
        ("fields: {'': {type: int}}", "fields['']: the name is empty; write a name"),
        ('fields: {"a\\tb": {type: int}}', "fields['a\\tb']: the name 'a\\tb' contains a control character"),
        ('fields: {"a\\u2028b": {type: int}}', "contains a control character or a line break"),
        (f"fields: {{{'a' * 201}: {{type: int}}}}", "the name has 201 characters; write at most 200"),
        ("fields: {x: {type: int, from: features}}", "fields.x.from: 'features' is not a source; write features.NAME"),
        ("fields: {x: {type: int, from: context.x}}", "fields.x.type: request context is text, not int"),
        ("fields: {x: {type: bool, from: metrics.x}}", "fields.x.type: metrics are numbers, not bool; write float or"),
        ("fields: {x: {type: float, from: score}}", "fields.x.from: score is an output; rename this field to score"),
        ("fields: {score: {type: category}}", "fields.score.type: the output score cannot be a category; write float"),
        ("fields: {a: {type: int, from: scores.a}}", "scores are probabilities, not int; write float"),
        ("fields: {b: {type: category, from: confidence}}", "confidence cannot be a category; write float"),
        ("fields: {score: {type: int, from: features.score}}", "give this field another name, such as feature_score"),
        ("fields: {x: {type: int}, y: {type: int, from: features.x}}", "the field 'x' already reads features.x"),
        ("fields: {x: {type: int, range: [1]}}", "fields.x.range: write two limits: [0, 100], or [0, null] if one"),
        ("fields: {x: {type: int, range: [2, 1]}}", "fields.x.range: 2 is above 1; write the smaller limit first"),
        ("fields: {x: {type: int, range: [.nan, 1]}}", "fields.x.range: '.nan' is not a number"),
        ("fields: {x: {type: int, range: [1e999, null]}}", "fields.x.range: 1e999 is out of range"),
        ("fields: {x: {type: int, weight: 0}}", "fields.x.weight: 0 is out of range; write a number above 0"),
        ("fields: {x: {type: int, critical: 'true'}}", "fields.x.critical: 'true' is not a flag; write true or false"),
        ("fields: {x: {type: category, sketch: req}}", "fields.x.sketch: req is for numbers, not category; remove it"),
        ("fields: {score: {type: float, pii: drop}}", "the output score cannot be monitored with pii drop; write keep"),
        ("fields: {x: {type: int, pii: hash}}", "fields.x.pii: hash converts a int to text; write type category"),
        ("slices: {a=b: {}}", "slices are named NAME=value, so NAME cannot contain ="),
        ("slices: {a: {values: [x, other]}}", "slices.a.values[1]: other is reserved for all other values"),
        ("fields: {x: {type: float}}\nslices: [x]", "slices.x: the field 'x' is a float; slice by a category"),
        ("fields: {x: {type: int, pii: drop}}\nslices: [x]", "slices.x: the field 'x' is dropped by its pii"),
        ("fields: {x: {type: category, pii: hash}}\nslices: {x: {values: [a]}}", "the field 'x' is hashed, so no"),
        ("label: {type: float, positive: 1}", "label.positive: a numeric label has no positive class"),
        ("label: {type: category, positive: true}", 'label.positive: a category is text; write "true" in quotes'),
        ("thresholds: {psi: {clear: 0.3}}", "thresholds.psi.clear: 0.3 is above major (0.2), so alerts would clear"),
        ("slo: {latency_share: 0.9}", "slo.latency_share: latency_share has no effect alone; write latency_ms too"),
        ("fields: {x: {type: int, from: features.y}}\nignored: {y: an id}", "the field 'x' monitors features.y; remov"),
        ("ignored: {x: ''}", "ignored.x: has no reason; write why it is not monitored"),
    ):
        (problem,) = problems(f"{HEAD}{line}\n")
        last = 3 + line.count("\n")
        assert problem.startswith(f"c.yaml:{last}: "), line
        assert message in problem, line


def test_text_that_is_not_a_contract_is_rejected() -> None:
    for text, message in (
        ("", "c.yaml:1: this is not a contract; begin with contract: 1"),
        ("- a\n", "c.yaml:1: this is not a contract"),
        ("contract: 2\nfuture: x\n", "c.yaml:1: contract: the format 2 is unknown; write 1"),
        ("model: m\n", "c.yaml:1: contract: is missing; write contract: 1"),
        ("contract: 1\nmodel: m\nfields: [\n", "this is not YAML"),
        (f"{HEAD}team: &a x\n", "c.yaml:3: &a is an anchor; write the value where it is needed"),
        (f"{HEAD}team: *a\n", "c.yaml:3: *a is an alias; write the value itself"),
        (f"{HEAD}team: !!python/object:os.system x\n", "c.yaml:3: the tag"),
        (f"{HEAD}---\n{HEAD}", "a second document begins; write one document per file"),
        (f"{HEAD}? [a]\n: b\n", "c.yaml:3: a key is a list or a map; write a name"),
        (f"{HEAD}team: {'[' * 50}\n", "c.yaml:3: lists and maps are nested more than 12 deep"),
        (HEAD.encode() + b"team: \xff\n", "c.yaml:3: byte 27 is not UTF-8"),
        (f"{HEAD}team: \x07\n", "c.yaml:3: this is not YAML"),
        (f"{HEAD}team: \ud800\n", "c.yaml:3: "),
        (f"{HEAD}description: {'x' * 10_001}\n", "the text has 10,001 characters; write at most 10,000"),
        (b"#" * (4 * 2**20 + 1), "c.yaml:1: the file has 4,194,305 bytes; write at most 4,194,304"),
    ):
        assert any(message in line for line in problems(text)), message


def test_aliases_cannot_expand_a_small_file() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]\n" for i in range(1, 10))
    assert any("is an anchor" in line for line in problems(f"{HEAD}{bomb}"))


def test_one_mistake_gives_one_message() -> None:
    """Checks that depend on an unreadable value are skipped; they do not use the default instead."""
    assert len(problems(f"{HEAD}pane: 1x\nwindows: [{{length: 90s, hop: 90s}}]\n")) == 1
    assert len(problems(f"{HEAD}fields: {{x: {{type: txt, range: [0, 1], pii: hash}}}}\n")) == 1


def test_serving_starts_without_a_time_zone_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_zones(key: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(key)

    zoneinfo.ZoneInfo.clear_cache()
    monkeypatch.setattr(zoneinfo, "ZoneInfo", no_zones)
    assert parse_contract(f"{HEAD}timezone: Europe/Berlin\n").timezone == "Europe/Berlin"


FOUR_FIELDS = """
contract: 1
model: m
fields:
  x: {type: float, policy: reject}
  city: {type: category}
  late: {type: float, from: scores.late}
  sure: {type: float, from: confidence}
"""

WHOLE = f"""{FOUR_FIELDS}
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


def test_every_key_is_read_and_written() -> None:
    contract = parse_contract(WHOLE)
    assert contract.fields[0].policy == "reject"
    assert [field.source for field in contract.fields[2:]] == ["scores.late", "confidence"]
    both = Slice(name="both", source="features.city * context.device", values=("a * b",), sketches=("x",))
    assert contract.slices == (both,)
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
        ("shadow: {candidate: 3, of: 3, margins: {latency: 0.1}}", "'3' is the primary too; write the version of the"),
        ("label: {type: bool}\nshadow: {candidate: 4, of: 3, margins: {}}", "has no criterion; write at least one"),
        ("promotion: required", "serving: is required with promotion: required"),
        ("serving: 2\nshadow: {candidate: 4, of: 3, margins: {latency: 0.1}}", "'3' is not the version of serving, '2"),
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
        ("label: {type: float}\nshadow: {candidate: 4, of: 3, margins: {brier: 0.1}}", "write one of mae, latency, "),
        ("shadow: {candidate: 4, of: 3, margins: {brier: 0.1}}", "requires ground truth; write label, or one of agree"),
        ("raw: none\nshadow: {candidate: 4, of: 3, margins: {latency: 0.1}}", "from raw events; write raw: all or raw"),
        ("arms: {shares: {a: 0.5, b: 0.5}, control: c}", "'c' is not an arm; write one of a, b"),
        ("arms: {shares: {a: 0.5, b: 0.5}, margins: {accuracy: 0.1}}", "write label, or one of latency, errors"),
        ("label: {type: bool}\narms: {shares: {a: 0.5, b: 0.5}, margins: {missing: 0.1}}", "'missing' is not a criter"),
        ("label: {type: bool}\nshadow: {candidate: 4, of: 3, margins: {accuracy: 0.1}, days: 7}", "28"),
        ("slo: {performance: {auc: 0.7}}", "performance requires ground truth; write label"),
        ("label: {type: float}\nslo: {performance: {auc: 0.7}}", "not a metric of this kind of model; write one of ma"),
        ("season: daily", "season"),
        ("trace_url: https://tempo.example/trace", "is not an address with {trace_id}"),
    ):
        assert expected in "\n".join(problems(f"{FOUR_FIELDS}{text}\n")), text


def test_what_a_section_must_not_say() -> None:
    for text, reason in (
        (Text(codebook="support.codebook.npz"), "text.codebook.*is not the id of a codebook"),
        (Text(content="redact"), "text.sample.*publishes nothing"),
        (Text(sample=0.5), "text.sample.*has no effect"),
        (Text(content="keep", sample=1.5), "text.sample.*outside"),
    ):
        (failure,) = check_failures(Contract(model="m", text=text))
        path = ".".join(map(str, failure.path))
        assert re.search(reason, f"{path}: {failure.message}"), reason


def test_text_is_counted_nowhere() -> None:
    for source in ("context.prompt_text", "context.answer_text"):
        fields = (Field(name="a", type="category", source=source),)
        slices = (Slice(name="b", source=source), Slice(name="c", source=f"context.region * {source}"))
        arms = Arms(shares={"a": 0.5, "b": 0.5}, unit=source)
        failures = check_failures(Contract(model="m", fields=fields, slices=slices, user=source, arms=arms))
        paths = [failure.path[:2] for failure in failures if "only recorded" in failure.message]
        assert sorted(paths) == [("arms", "unit"), ("fields", "a"), ("slices", "b"), ("slices", "c"), ("user",)]


EXAMPLE = FOLDER / "examples" / "contract.yaml"


def test_the_published_files_match_the_code_and_others_are_reported_and_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check"]) == 0
    monkeypatch.setattr("barograph.schemas.FOLDER", tmp_path)
    (tmp_path / "label.schema.json").write_text("{}")
    assert main(["--check"]) == 1
    reported = [line.split(" differs ")[0] for line in capsys.readouterr().err.splitlines()]
    assert reported == [path.name for path in files()]
    assert main(["--write"]) == main(["--check"]) == 0
    assert {path: path.read_text("utf-8") for path in tmp_path.iterdir()} == files()


def test_the_example_contract_has_every_section_and_matches_its_schema() -> None:
    written = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    assert faults(written, contract_schema()) == []
    assert set(written) == {key.name for key in contract_record().keys}
    assert parse_contract(dump_contract(load_contract(EXAMPLE))) == load_contract(EXAMPLE)


def test_the_schema_and_the_reader_reject_the_same_files() -> None:
    changes: list[dict[str, Any]] = [
        {"model": ""},
        {"pane": "1 minute"},
        {"raw": "some"},
        {"windows": [{"length": "1h"}]},
        {"fields": {"x": {"type": "text"}}},
        {"fields": {"": {"type": "int"}}},
        {"slices": ["x", "x"]},
        {"slo": {"latency_share": 1.5}},
        {"unknown": 1},
        {"contract": 2},
    ]
    for change in changes:
        written = {"contract": 1, "model": "m", **change}
        assert faults(written, contract_schema()), change
        with pytest.raises(ContractError):
            parse_contract(yaml.safe_dump(written))


def test_example_payloads_match_their_schema() -> None:
    for path in FOLDER.glob("examples/*.json"):
        struct = Prediction if path.name.startswith("prediction") else Label
        assert faults(json.loads(path.read_text("utf-8")), event_schema(struct)) == [], path


def test_docs_have_every_member_of_an_event() -> None:
    docs = Path(__file__).parents[4] / "docs"
    text = (docs / "events.md").read_text("utf-8")
    for struct in (Prediction, Label):
        for member, description in member_docs(struct).items():
            line = rf"^\| `{member.rstrip('_')}` \| [^|]+ \| {re.escape(description)} \|$"
            assert re.search(line, text, re.MULTILINE), member


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=30)
ODD = st.sampled_from(
    ["NO", "null", "~", "1", "1e3", "<<", "- a", "a: b", "# x", "'", '"', "\\", "@", "%", " ", "{", "é", "💥"]
)
PROSE = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def fields(draw: st.DrawFn) -> Field:
    name = draw(NAMES | ODD)
    kind: FieldType = draw(st.sampled_from(get_args(FieldType)))
    numeric = kind in ("float", "int", "timestamp")
    low, high = sorted(draw(st.tuples(NUMBERS, NUMBERS))) if numeric and draw(st.booleans()) else (None, None)
    if name in ("score", "class", "latency_ms"):
        name += "_"
    return Field(
        name=name,
        type=kind,
        source=draw(st.just(f"features.{name}") | NAMES.map(lambda member: f"features.{member}")),
        description=draw(PROSE),
        unit=draw(PROSE),
        critical=draw(st.booleans()),
        low=low,
        high=high if draw(st.booleans()) else None,
        nulls=draw(st.sampled_from(["allow", "refuse"])),
        weight=draw(st.floats(0.001, 1000)),
        sketch=draw(st.sampled_from(["kll", "req"])) if numeric else "kll",
        pii=draw(st.sampled_from(["keep", "drop"])),
    )


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    monitored = draw(st.lists(fields(), max_size=4, unique_by=(lambda f: f.name, lambda f: f.source)))
    taken = {field.source for field in monitored}
    dimensions = draw(st.lists((NAMES | ODD).filter(lambda name: "=" not in name), max_size=3, unique=True))
    slices = tuple(
        Slice(
            name=name,
            source=draw(st.sampled_from(["arm", "context.x", f"context.{name}"])),
            top=draw(st.integers(1, 1000)),
            values=tuple(draw(st.lists((NAMES | ODD).filter(lambda v: v != "other"), max_size=3, unique=True))),
        )
        for name in dimensions
    )
    minor, clear, major = sorted(draw(st.tuples(*[st.floats(0.001, 1)] * 3)))
    ignored = draw(st.dictionaries(NAMES | ODD, PROSE.filter(str.strip), max_size=3))
    return Contract(
        model=draw(NAMES | ODD),
        description=draw(PROSE),
        team=draw(PROSE),
        owners=tuple(draw(st.lists(NAMES, max_size=2, unique=True))),
        route=draw(PROSE),
        timezone=draw(st.sampled_from(["UTC", "America/New_York", "Etc/GMT+3"])),
        pane_s=300,
        lateness_s=draw(st.integers(0, 10**6)),
        out_of_order_s=draw(st.integers(0, 10**6)),
        windows=(Window(3600, 300), Window(7200, 7200), Window(86_400, 3600, last=500)),
        raw_share=draw(st.floats(0, 1)),
        fields=tuple(monitored),
        slices=slices,
        slice_min_n=draw(st.integers(0, 10**9)),
        label=draw(
            st.sampled_from([None, LabelSpec(type="bool", positive=True), LabelSpec(type="bool", positive="true")])
        ),
        thresholds=Thresholds(minor=minor, major=major, clear=clear),
        rate_thresholds=RateThresholds(minor=minor / 2, major=major),
        slo=draw(st.sampled_from([Slo(), Slo(latency_ms=1e-9, latency_share=0.999, error_rate=0.0)])),
        ignored={name: why for name, why in ignored.items() if f"features.{name}" not in taken},
    )


@given(contracts(), PROSE)
def test_a_written_contract_reads_back_equal_here_and_in_other_yaml_parsers(contract: Contract, comments: str) -> None:
    text = dump_contract(contract, comments)
    again = parse_contract(text)
    assert again == contract
    assert again.id == contract.id
    assert dump_contract(again, comments) == text
    read: dict[str, Any] = yaml.safe_load(text)
    assert read["model"] == contract.model
    assert list(read.get("fields", {})) == [field.name for field in contract.fields]
    for field in contract.fields:
        given_range = read["fields"][field.name].get("range", [None, None])
        assert given_range == [field.low, field.high]
        assert all(limit is None or math.isfinite(limit) for limit in given_range)


def test_the_id_depends_on_what_differs_from_the_defaults() -> None:
    plain = Contract(model="m")
    assert plain.id == content_hash({"model": "m"}), "a new member changes no id"
    whole = Field(name="x", type="int", source="features.x", low=0, high=1)
    parts = Field(name="x", type="int", source="features.x", low=-0.0, high=1.0)
    assert Contract(model="m", fields=(whole,)).id == Contract(model="m", fields=(parts,)).id != plain.id
    rules = [Alerts(rules={"latency": AlertRule(threshold=threshold)}) for threshold in (1, 1.0, 2.0, None)]
    ids = [Contract(model="m", alerts=alerts).id for alerts in rules]
    assert (ids[0], len({plain.id, *ids})) == (ids[1], 4)
