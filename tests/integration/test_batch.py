"""Tables compared with the counts of the pipeline, and with predictions in ClickHouse."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.contract import Contract, LabelSpec
from barograph.publisher.pii import FieldHash, truncate_text

from barograph_server.batch.compare.outcomes import OutcomeCounts
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.scorer.measure import measure
from barograph_server.streams.scorer.rules import make_rules
from barograph_server.streams.scorer.window_counts import window_counts
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring.state import window_sums
from barograph_server.warehouse.tables import insert_rows
from tests.support import scoring
from tests.support.command_line import call
from tests.support.environment import enter_folder
from tests.support.scoring import DAY_MS, START_MS
from tests.support.warehouse import add_row, insert, migrated, row

N, DAYS = 3_000, 2
CLASSES = ("cat", "dog", "fish")
SPECS = {
    "binary": LabelSpec(type="bool", positive=True, threshold=0.4),
    "classes": LabelSpec(type="category", classes=CLASSES),
    "number": LabelSpec(type="float"),
}


def generate(kind: str, rng: np.random.Generator) -> tuple[list[dict[str, Any]], list[Any]]:
    """Outputs and labels of rows: missing and invalid scores, classes that contradict scores, unknown labels."""
    outputs: list[dict[str, Any]] = []
    labels: list[Any] = []
    for i in range(N):
        if kind == "binary":
            score = float(rng.beta(2, 3))
            score = {0: float("nan"), 1: 1.5}.get(i % 50, score)
            named = ("true" if rng.random() < 0.5 else "false") if i % 7 == 0 else ""
            outputs.append({"score": score, "class": named})
            labels.append(bool(rng.random() < (score if 0 <= score <= 1 else 0.5)))
        elif kind == "classes":
            p = rng.dirichlet((1.0, 1.5, 2.0))
            shares = dict(zip(CLASSES, map(float, p * (1.2 if i % 40 == 0 else 1.0)), strict=True))
            named = CLASSES[int(rng.integers(3))] if i % 5 == 0 else ""
            outputs.append({"scores": {} if i % 30 == 0 else shares, "class": named})
            labels.append("bird" if i % 25 == 0 else CLASSES[int(rng.choice(3, p=p))])
        else:
            score = float("nan") if i % 50 == 0 else float(rng.normal(100, 20))
            outputs.append({"score": score})
            labels.append(score if i % 60 == 1 else float(rng.normal(98, 20)))
        if rng.random() < 0.2:
            labels[-1] = None
    return outputs, labels


def counted(contract: Contract, days: list[int], outputs: list[dict[str, Any]], labels: list[Any]) -> OutcomeCounts:
    counts = OutcomeCounts(make_rules(contract, Registry()), DAYS)
    columns = {"label": pa.array(labels)}
    if "score" in outputs[0]:
        columns["score"] = pa.array([row["score"] for row in outputs])
    if "class" in outputs[0]:
        columns["class"] = pa.array([row["class"] or None for row in outputs])
    for name in CLASSES if "scores" in outputs[0] else ():
        columns[f"scores.{name}"] = pa.array([row["scores"].get(name) for row in outputs])
    for rows in (slice(0, N // 2), slice(N // 2, N)):
        part = OutcomeCounts(make_rules(contract, Registry()), DAYS)
        part.add(np.array(days[rows]), {name: column[rows] for name, column in columns.items()})
        counts.merge(part)
    return counts


@pytest.mark.parametrize("kind", SPECS)
def test_metrics_equal_those_of_the_scorer(engine: LocalClickHouse, kind: str) -> None:
    rng = np.random.default_rng(5)
    contract = Contract(model="m", label=SPECS[kind])
    outputs, labels = generate(kind, rng)
    times = [START_MS + int(rng.integers(DAYS * DAY_MS)) for _ in range(N)]
    rows = [scoring.prediction(i, times[i], i, **outputs[i]) for i in range(N)]
    label_rows = [
        scoring.label(
            i, times[i] + 1_000, i, str(value).lower(), {"binary": "bool", "classes": "string"}.get(kind, "number")
        )
        for i, value in enumerate(labels)
        if value is not None
    ]
    with migrated(engine) as client:
        insert(client, predictions=rows, labels=label_rows)
        address, now_s = engine.address(client.database), START_MS / 1000 + 10 * 86_400
        scoring.scorer(client, address, contract, clock=lambda: now_s).score_once()
        stored = scoring.shown(client, "value, low, high, n")
        rules = make_rules(contract, Registry())
        starts = [START_MS // 1000 + day * 86_400 for day in range(DAYS)]
        expected = window_counts(rules, window_sums(client, rules, 86_400, starts))
    days = [(at_ms - START_MS) // DAY_MS for at_ms in times]
    actual = counted(contract, days, outputs, labels).counts()
    for name in ("predictions", "labelled", "confusion", "sums", "labelled_hist", "prediction_hist", "errors", "sizes"):
        assert getattr(actual, name) == pytest.approx(getattr(expected, name), rel=1e-9, abs=1e-9), name
    cells = np.unique(expected.of_predictions.cell)
    assert (cells.size > 0) == (kind != "binary")
    sums, stored_sums = (each.of_predictions.of_windows([0, 1], cells) for each in (actual, expected))
    assert sums == pytest.approx(stored_sums, rel=1e-9, abs=1e-9)
    measured = measure(rules, actual)
    compared = 0
    for (metric, of_class), result in measured.items():
        for day in range(DAYS):
            value, low, high, n = stored["1", "all", metric, of_class, "1d", START_MS // 1000 + day * 86_400]
            assert result.n[day] == n, (metric, of_class, day)
            ours = (result.metric.value[day], result.metric.low[day], result.metric.high[day])
            assert ours == pytest.approx((value, low, high), rel=1e-9, abs=1e-12, nan_ok=True), (metric, of_class, day)
            compared += 1
    assert compared >= 2 * 5


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
ROWS = 240
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
RANGE = ("--from", START.isoformat(), "--to", (START + timedelta(hours=4)).isoformat())
TRAIN: dict[str, list[Any]] = {
    "id": [f"p{i:04}" for i in range(ROWS)],
    "temp": [None if i % 10 == 0 else 60 + i / 7 for i in range(ROWS)],
    "seats": [50 + i for i in range(ROWS)],
    "weekend": [i % 3 == 0 for i in range(ROWS)],
    "carrier": [None if i % 11 == 0 else ("AA", "B6", "UA")[i % 3] for i in range(ROWS)],
    "booked_at": [START - timedelta(hours=i) for i in range(ROWS)],
    "email": [f"secret{i % 9}@b.example" for i in range(ROWS)],
    "postcode": [f"1011{i % 7}" for i in range(ROWS)],
    "passport": [f"X{i}" for i in range(ROWS)],
    "region": [("north", "south")[i % 2] for i in range(ROWS)],
    "score": [i / ROWS for i in range(ROWS)],
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
    at = START + timedelta(minutes=i)
    known = {"offset": i, "model": MODEL, "version": "3", "id": values["id"], "at": at, "received_at": at}
    known |= {"context": [("region", values["region"])], "score": values["score"]}
    known["nulls"] = [name for name in ("temp", "carrier") if values[name] is None]
    return row("predictions", **known, numbers=list(numbers.items()), strings=list(strings.items()))


Skew = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def skew(
    client: Client,
    engine: LocalClickHouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Skew:
    enter_folder(tmp_path, monkeypatch, engine.address(client.database))
    add_row(client, "contracts", model=MODEL, contract_id="c", yaml=CONTRACT)
    pq.write_table(pa.table(TRAIN), "train.parquet")

    def compared(events: list[dict[str, Any]], *words: str, served: str = f"clickhouse:{MODEL}") -> Any:
        client.command("TRUNCATE TABLE predictions")
        insert_rows(client, "predictions", events)
        words = ("--served", served, "--recomputed", "train.parquet", "--format", "json", *words)
        code, printed, errors = call(capsys, "skew", *words)
        return code, json.loads(printed or "{}"), errors

    return compared


def test_identical_sides_have_no_skew(skew: Skew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAROGRAPH_PII_KEY", KEY)
    events = [event(i) for i in range(ROWS)]
    # A replay leaves duplicates; the rows of another version must be ignored.
    events += events[:50]
    events += [{**event(i), "version": "4", "offset": 1000 + i, "numbers": [("temp", 0.0)]} for i in range(5)]
    code, report, errors = skew(events, *RANGE, served=f"clickhouse:{MODEL}@3")
    assert code == 0, (report, errors)
    assert report["compared_rows"] == ROWS
    assert [each["field"] for each in report["fields"]] == [
        *("temp", "seats", "weekend", "carrier", "booked", "email", "postcode", "region", "score")
    ]
    assert report["skipped"] == [{"name": "passport", "reason": "personal data, dropped before it was published"}]
    assert not any(each["precision"] for each in report["fields"])
    assert skew(events, *RANGE)[0] == 1, "all versions"


def test_hashes_of_the_previous_key_are_recognized_in_a_rotation(skew: Skew, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event(i) for i in range(ROWS)]
    new_key = "the next secret of more than sixteen bytes"
    renewed = FieldHash(new_key.encode(), MODEL, "features.email")
    for i in range(ROWS // 2, ROWS):
        strings = dict(events[i]["strings"]) | {"email": renewed(TRAIN["email"][i])}
        events[i]["strings"] = list(strings.items())

    def mismatched(*, previous: str) -> int:
        monkeypatch.setenv("BAROGRAPH_PII_PREVIOUS_KEY", previous)
        _, report, errors = skew(events, *RANGE, "--field", "email")
        assert report, errors
        return int(report["fields"][0]["mismatched"])

    monkeypatch.setenv("BAROGRAPH_PII_KEY", new_key)
    assert mismatched(previous="") == ROWS // 2
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
        for i in range(ROWS)
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
        ("constant factor", True, ROWS - ROWS // 10),
        ("null handling", True, ROWS // 10),
    ]
    reason = "email is hashed in production; set BAROGRAPH_PII_KEY to compare it"
    assert {"name": "email", "reason": reason} in report["skipped"]


def test_only_the_range_is_read_and_the_id_column_may_have_another_name(skew: Skew) -> None:
    pq.write_table(pa.table(TRAIN).rename_columns(["request", *list(TRAIN)[1:]]), "train.parquet")
    hour = ("--from", (START + timedelta(hours=1)).isoformat(), "--to", (START + timedelta(minutes=95)).isoformat())
    code, report, _ = skew([event(i) for i in range(ROWS)], *hour, "--on", "request")
    assert (code, report["served_rows"], report["only_recomputed"]) == (0, 35, ROWS - 35)


def test_a_missing_model_version_or_range_is_named(skew: Skew) -> None:
    for served, span, message in (
        ("nobody", RANGE, "has no contract of 'nobody'; there are it's “Größe”"),
        (f"{MODEL}@9", RANGE, "has no raw predictions of it's “Größe” version 9"),
        (f"{MODEL}@3", ("--from", "2020-01-01", "--to", "2020-01-02"), "but 240 from "),
    ):
        code, _, errors = skew([event(i) for i in range(ROWS)], *span, served=f"clickhouse:{served}")
        assert (code, message in errors) == (2, True), errors
