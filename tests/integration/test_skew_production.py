"""Predictions recorded in ClickHouse compared with a training table: numbers, flags, text, times, personal data."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.publisher.pii import FieldHash, truncate_text

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows
from tests.support.command_line import run
from tests.support.environment import enter_folder
from tests.support.warehouse import row

pytestmark = pytest.mark.engine
MODEL = "it's “Größe”"
KEY = "a secret of more than sixteen bytes"
HASH = FieldHash(KEY.encode(), MODEL, "features.email")
CONTRACT = f"""
contract: 1
model: {json.dumps(MODEL, ensure_ascii=False)}
fields:
  temp: {{type: float}}
  seats: {{type: int}}
  weekend: {{type: bool}}
  carrier: {{type: category}}
  booked: {{type: timestamp, from: features.booked_at}}
  email: {{type: category, pii: hash}}
  postcode: {{type: category, pii: truncate}}
  passport: {{type: category, pii: drop}}
  region: {{type: category, from: context.region}}
  score: {{type: float}}
"""
N = 240
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
RANGE = ("--from", START.isoformat(), "--to", (START + timedelta(hours=4)).isoformat())
TRAIN: dict[str, list[Any]] = {
    "id": [f"p{i:04}" for i in range(N)],
    "temp": [None if i % 10 == 0 else 60 + i / 7 for i in range(N)],
    "seats": [50 + i for i in range(N)],
    "weekend": [i % 3 == 0 for i in range(N)],
    "carrier": [None if i % 11 == 0 else ("AA", "B6", "UA")[i % 3] for i in range(N)],
    "booked_at": [START - timedelta(hours=i) for i in range(N)],
    "email": [f"secret{i % 9}@b.example" for i in range(N)],
    "postcode": [f"1011{i % 7}" for i in range(N)],
    "passport": [f"X{i}" for i in range(N)],
    "region": [("north", "south")[i % 2] for i in range(N)],
    "score": [i / N for i in range(N)],
}


def event(i: int, **changes: Any) -> dict[str, Any]:
    """Return the row that the recorder writes for the i-th prediction."""
    values = {name: column[i] for name, column in TRAIN.items()} | changes
    numbers = {name: values[name] for name in ("temp", "seats") if values[name] is not None}
    numbers["weekend"] = float(values["weekend"])
    numbers["booked_at"] = float(int(values["booked_at"].timestamp() * 1000))
    strings = {"email": HASH(values["email"]), "postcode": truncate_text(values["postcode"])}
    if values["carrier"] is not None:
        strings["carrier"] = values["carrier"]
    return row(
        "predictions",
        offset=i,
        model=MODEL,
        version="3",
        id=values["id"],
        at=START + timedelta(minutes=i),
        received_at=START + timedelta(minutes=i),
        context=[("region", values["region"])],
        numbers=list(numbers.items()),
        strings=list(strings.items()),
        nulls=[name for name in ("temp", "carrier") if values[name] is None],
        score=values["score"],
    )


@pytest.fixture
def skew(
    client: Client,
    engine: LocalClickHouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, dict[str, Any], str]]:
    enter_folder(tmp_path, monkeypatch, engine.address(client.database))
    insert_rows(client, "contracts", [row("contracts", model=MODEL, contract_id="c", yaml=CONTRACT)])
    pq.write_table(pa.table(TRAIN), "train.parquet")

    def compared(events: list[dict[str, Any]], *words: str, served: str = f"clickhouse:{MODEL}") -> Any:
        client.command("TRUNCATE TABLE predictions")
        insert_rows(client, "predictions", events)
        code = run("skew", "--served", served, "--recomputed", "train.parquet", "--format", "json", *words)
        output = capsys.readouterr()
        report = json.loads(output.out) if output.out else {}
        return code, report, output.err

    return compared


Skew = Callable[..., tuple[int, dict[str, Any], str]]


def test_identical_sides_have_no_skew(skew: Skew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAROGRAPH_PII_KEY", KEY)
    events = [event(i) for i in range(N)]
    # A replay leaves duplicates; the rows of another version must be ignored.
    events += events[:50]
    events += [{**event(i), "version": "4", "offset": 1000 + i, "numbers": [("temp", 0.0)]} for i in range(5)]
    code, report, errors = skew(events, *RANGE, served=f"clickhouse:{MODEL}@3")
    assert code == 0, (report, errors)
    assert report["compared_rows"] == N
    assert [each["field"] for each in report["fields"]] == [
        *("temp", "seats", "weekend", "carrier", "booked", "email", "postcode", "region", "score")
    ]
    assert report["skipped"] == [{"name": "passport", "reason": "personal data, dropped before it was published"}]
    assert not any(each["precision"] for each in report["fields"])
    assert skew(events, *RANGE)[0] == 1, "all versions"


def test_hashes_of_the_previous_key_are_recognized_in_a_rotation(skew: Skew, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event(i) for i in range(N)]
    new_key = "the next secret of more than sixteen bytes"
    renewed = FieldHash(new_key.encode(), MODEL, "features.email")
    for i in range(N // 2, N):
        strings = dict(events[i]["strings"]) | {"email": renewed(TRAIN["email"][i])}
        events[i]["strings"] = list(strings.items())

    def mismatched(*, previous: str) -> int:
        monkeypatch.setenv("BAROGRAPH_PII_PREVIOUS_KEY", previous)
        _, report, errors = skew(events, *RANGE, "--field", "email")
        assert report, errors
        return int(report["fields"][0]["mismatched"])

    monkeypatch.setenv("BAROGRAPH_PII_KEY", new_key)
    assert mismatched(previous="") == N // 2
    assert mismatched(previous=KEY) == 0


def test_skew_is_detected_in_each_recorded_column(skew: Skew) -> None:
    events = [
        event(
            i,
            temp=0.0 if TRAIN["temp"][i] is None else TRAIN["temp"][i] * 1000,
            weekend=not TRAIN["weekend"][i],
            carrier=TRAIN["carrier"][i] and TRAIN["carrier"][i].lower(),
            booked_at=TRAIN["booked_at"][i] + timedelta(hours=2),
            region=TRAIN["region"][i].title(),
            score=TRAIN["score"][i] / 2,
        )
        for i in range(N)
    ]
    code, report, _ = skew(events, *RANGE)
    assert code == 1
    kinds = {each["field"]: each["kinds"] for each in report["fields"] if each["mismatched"]}
    assert kinds == {
        "temp": ["constant factor", "null handling"],  # and a tenth are zeros for nulls
        "weekend": ["recoded"],
        "carrier": ["category spelling"],
        "booked": ["constant offset"],
        "region": ["category spelling"],
        "score": ["constant factor"],
    }
    (temp,) = [each for each in report["fields"] if each["field"] == "temp"]
    assert [(each["kind"], each["is_named"], each["of"]) for each in temp["explanations"]] == [
        ("constant factor", True, N - N // 10),
        ("null handling", True, N // 10),
    ]
    assert {each["name"]: each["reason"] for each in report["skipped"]}[
        "email"
    ] == "email is hashed in production; set BAROGRAPH_PII_KEY to compare it"


def test_only_the_range_is_read_and_the_id_column_may_have_another_name(skew: Skew) -> None:
    pq.write_table(pa.table(TRAIN).rename_columns(["request", *list(TRAIN)[1:]]), "train.parquet")
    hour = ("--from", (START + timedelta(hours=1)).isoformat(), "--to", (START + timedelta(minutes=95)).isoformat())
    code, report, _ = skew([event(i) for i in range(N)], *hour, "--on", "request")
    assert (code, report["served_rows"], report["only_recomputed"]) == (0, 35, N - 35)


@pytest.mark.parametrize(
    ("served", "span", "message"),
    [
        ("clickhouse:nobody", RANGE, "has no contract of 'nobody'; there are it's “Größe”"),
        (f"clickhouse:{MODEL}@9", RANGE, "has no raw predictions of it's “Größe” version 9"),
        (f"clickhouse:{MODEL}@3", ("--from", "2020-01-01", "--to", "2020-01-02"), "but 240 from "),
    ],
)
def test_missing_models_versions_and_ranges_are_reported(
    served: str, span: tuple[str, ...], message: str, skew: Skew
) -> None:
    code, _, errors = skew([event(i) for i in range(N)], *span, served=served)
    assert code == 2
    assert message in errors
