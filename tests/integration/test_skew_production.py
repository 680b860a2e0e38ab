"""What ClickHouse recorded of predictions against a training table: numbers, flags, text, times, personal data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.publisher.pii import hash_text

from cli.main import main
from local.clickhouse import LocalClickHouse
from tests.support.warehouse import migrated, row
from warehouse.client import Client
from warehouse.tables import insert_rows

pytestmark = pytest.mark.engine

MODEL = "it's “Größe”"
KEY = "a secret of more than sixteen bytes"
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
    """What the recorder writes of the i-th prediction."""
    held = {name: values[i] for name, values in TRAIN.items()} | changes
    numbers = {name: held[name] for name in ("temp", "seats") if held[name] is not None}
    numbers["weekend"] = float(held["weekend"])
    numbers["booked_at"] = float(int(held["booked_at"].timestamp() * 1000))
    strings = {"email": hash_text(KEY.encode(), held["email"]), "postcode": held["postcode"][:3]}
    if held["carrier"] is not None:
        strings["carrier"] = held["carrier"]
    return row(
        "predictions",
        offset=i,
        model=MODEL,
        version="3",
        id=held["id"],
        at=START + timedelta(minutes=i),
        received_at=START + timedelta(minutes=i),
        context=[("region", held["region"])],
        numbers=list(numbers.items()),
        strings=list(strings.items()),
        nulls=[name for name in ("temp", "carrier") if held[name] is None],
        score=held["score"],
    )


@pytest.fixture(scope="module")
def client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        yield client


@pytest.fixture
def skew(
    client: Client,
    engine: LocalClickHouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Callable[..., tuple[int, dict[str, Any], str]]]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BAROGRAPH_")]:
        monkeypatch.delenv(name)
    Path("barograph.toml").write_text(
        f'[clickhouse]\nhost = "{engine.host}"\nport = {engine.port}\ndatabase = "{client.database}"\n'
    )
    insert_rows(client, "contracts", [row("contracts", model=MODEL, contract_id="c", yaml=CONTRACT)])
    pq.write_table(pa.table(TRAIN), "train.parquet")

    def compared(events: list[dict[str, Any]], *words: str, served: str = f"clickhouse:{MODEL}") -> Any:
        client.command("TRUNCATE TABLE predictions")
        insert_rows(client, "predictions", events)
        with pytest.raises(SystemExit) as end:
            main(["skew", "--served", served, "--recomputed", "train.parquet", "--json", *words])
        told = capsys.readouterr()
        found = json.loads(told.out) if told.out else {}
        return int(end.value.code or 0), found, told.err

    yield compared
    client.command("TRUNCATE TABLE contracts")


Skew = Callable[..., tuple[int, dict[str, Any], str]]


def test_what_was_served_as_trained_has_no_skew(skew: Skew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAROGRAPH_PII_KEY", KEY)
    events = [event(i) for i in range(N)]
    # A replay leaves repeats; another version and another model are not asked for.
    events += events[:50]
    events += [{**event(i), "version": "4", "offset": 1000 + i, "numbers": [("temp", 0.0)]} for i in range(5)]
    code, found, told = skew(events, *RANGE, served=f"clickhouse:{MODEL}@3")
    assert code == 0, (found, told)
    assert found["compared_rows"] == N
    assert [each["field"] for each in found["fields"]] == [
        *("temp", "seats", "weekend", "carrier", "booked", "email", "postcode", "region", "score"),
    ]
    assert found["not_compared"] == {"passport": "personal data, dropped before it was published"}
    assert not any(each["precision"] for each in found["fields"])
    assert skew(events, *RANGE)[0] == 1, "all versions"


def test_each_way_of_recording_shows_its_skew(skew: Skew) -> None:
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
    code, found, _ = skew(events, *RANGE)
    assert code == 1
    kinds = {each["field"]: each["kinds"] for each in found["fields"] if each["mismatched"]}
    assert kinds == {
        "temp": ["constant factor", "null handling"],  # and a tenth are zeros for nulls
        "weekend": ["recoded"],
        "carrier": ["category spelling"],
        "booked": ["constant offset"],
        "region": ["category spelling"],
        "score": ["constant factor"],
    }
    (temp,) = [each for each in found["fields"] if each["field"] == "temp"]
    assert [(each["kind"], each["named"], each["of"]) for each in temp["explanations"]] == [
        ("constant factor", True, N - N // 10),
        ("null handling", True, N // 10),
    ]
    assert found["not_compared"]["email"] == "email is hashed in production; set BAROGRAPH_PII_KEY to compare it"


def test_only_the_range_is_read_and_ids_may_be_called_otherwise(skew: Skew) -> None:
    pq.write_table(pa.table(TRAIN).rename_columns(["request", *list(TRAIN)[1:]]), "train.parquet")
    hour = ("--from", (START + timedelta(hours=1)).isoformat(), "--to", (START + timedelta(minutes=95)).isoformat())
    code, found, _ = skew([event(i) for i in range(N)], *hour, "--on", "request")
    assert (code, found["served_rows"], found["only_recomputed"]) == (0, 35, N - 35)


@pytest.mark.parametrize(
    ("served", "span", "said"),
    [
        ("clickhouse:nobody", RANGE, "has no contract of 'nobody'; known are it's “Größe”"),
        (f"clickhouse:{MODEL}@9", RANGE, "holds no raw predictions of it's “Größe” version 9"),
        (f"clickhouse:{MODEL}@3", ("--from", "2020-01-01", "--to", "2020-01-02"), "but 240 from "),
        ("clickhouse:", RANGE, "names no model"),
    ],
)
def test_what_is_not_there_is_said(served: str, span: tuple[str, ...], said: str, skew: Skew) -> None:
    code, _, told = skew([event(i) for i in range(N)], *span, served=served)
    assert code == 2
    assert said in told
