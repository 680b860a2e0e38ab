"""The published JSON Schemas and docs/events.md match the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from barograph import ContractError, dump_contract, load_contract, parse_contract
from barograph.contract import Field
from barograph.contract.file import contract_record
from barograph.contract.sections import record_of
from barograph.events import Label, Prediction
from barograph.schemas import FOLDER, event_schema, files, member_docs
from barograph.schemas.__main__ import main
from barograph.schemas.contract_schema import contract_schema

from tests.support.json_schema import faults

DOCS = Path(__file__).parents[4] / "docs"
EXAMPLE = FOLDER / "examples" / "contract.yaml"


def test_the_published_files_match_the_code() -> None:
    assert main(["--check"]) == 0


def test_files_that_differ_from_the_code_are_reported_and_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("barograph.schemas.FOLDER", tmp_path)
    (tmp_path / "label.schema.json").write_text("{}")
    assert main(["--check"]) == 1
    reported = [line.split(" differs ")[0] for line in capsys.readouterr().err.splitlines()]
    assert reported == [path.name for path in files()]
    assert main(["--write"]) == main(["--check"]) == 0
    assert {path: path.read_text("utf-8") for path in tmp_path.iterdir()} == files()


def test_the_example_contract_has_every_key_and_matches_its_schema() -> None:
    written = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    assert faults(written, contract_schema()) == []
    assert set(written) == {key.name for key in contract_record().keys}
    assert set().union(*written["fields"].values()) >= {key.name for key in record_of(Field).keys}
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
    text = (DOCS / "events.md").read_text("utf-8")
    for struct in (Prediction, Label):
        for member, description in member_docs(struct).items():
            line = rf"^\| `{member.rstrip('_')}` \| [^|]+ \| {re.escape(description)} \|$"
            assert re.search(line, text, re.MULTILINE), member
