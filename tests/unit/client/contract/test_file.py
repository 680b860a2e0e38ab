"""Reading contract files: their meaning, and the messages about invalid ones."""

from __future__ import annotations

import zoneinfo
from pathlib import Path

import pytest
import yaml
from barograph import Contract, ContractError, load_contract, parse_contract
from barograph.contract import Field, Slice, yaml_tree

HEAD = "contract: 1\nmodel: m\n"


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with and without libyaml."""
    chosen = yaml.CSafeLoader if request.param == "libyaml" else yaml.SafeLoader
    monkeypatch.setattr(yaml_tree, "_LOADER", chosen)


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ContractError) as caught:
        parse_contract(text, "c.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_the_shortest_contract_has_every_default() -> None:
    assert parse_contract(HEAD) == Contract(model="m")


def test_unusual_numbers_and_texts_are_read() -> None:
    """All keys: `test_old_contracts_are_read_from_file_and_from_the_warehouse` in tests/contract."""
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


def test_a_missing_file_gives_a_readable_error(tmp_path: Path) -> None:
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
        (
            "windows: [{last: 500, length: 1d, hop: 1h}, {last: 500, length: 2d, hop: 1h}]",
            "windows[1].last: windows[0] already is the last 500; remove one",
        ),
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
        (
            "fields: {x: {type: int, from: features.y}}\nignored: {y: an id}",
            "ignored.y: the field 'x' monitors features.y; remove one of them",
        ),
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
