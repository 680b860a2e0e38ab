"""Personal data does not leave the process: JSON and Arrow values are hashed with a key, truncated or dropped."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pyarrow as pa
import pytest
from barograph import Contract, Publisher
from barograph.contract import Field
from barograph.publisher.pii import KEY_VARIABLE, Pii, PiiKeyError, hash_text, read_key
from barograph.publisher.tables import PredictionTables

from tests.support.scripted_kafka import RecordingProducer

KEY = b"a key of sixteen bytes"
CONTRACT = Contract(
    model="m",
    fields=(
        Field(name="email", type="category", source="features.email", pii="hash"),
        Field(name="zip", type="category", source="context.zip", pii="truncate"),
        Field(name="age", type="int", source="features.age", pii="drop"),
        Field(name="cost", type="float", source="metrics.cost", pii="drop"),
        Field(name="x", type="float", source="features.x"),
    ),
)


def test_the_hash_is_hmac_sha_256() -> None:
    expected = hmac.new(KEY, "ana@größe".encode(), hashlib.sha256).hexdigest()[:32]
    assert hash_text(KEY, "ana@größe") == expected
    assert hash_text(b"another key of sixteen", "ana@größe") != expected


def test_maps_are_protected_and_the_callers_maps_do_not_change() -> None:
    pii = Pii(CONTRACT, KEY)
    features = {"email": "ana@x", "age": 41, "x": 1.5}
    assert pii.protect("features", features) == {"email": hash_text(KEY, "ana@x"), "x": 1.5}
    assert features == {"email": "ana@x", "age": 41, "x": 1.5}
    assert pii.protect("context", {"zip": "10997", "channel": "web"}) == {"zip": "109", "channel": "web"}
    assert pii.protect("metrics", {"cost": 3.0}) == {}


def test_nulls_stay_null_and_other_values_are_hashed_as_text() -> None:
    pii = Pii(CONTRACT, KEY)
    assert pii.protect("features", {"email": None}) == {"email": None}
    assert pii.protect("features", {"email": 7}) == {"email": hash_text(KEY, "7")}
    assert pii.protect("context", {"zip": None}) == {"zip": None}


def test_columns_are_protected_as_maps_are() -> None:
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "email": pa.array(["ana@x", None, "ana@x"]).dictionary_encode(),
            "zip": ["10997", None, "1"],
            "age": [41, 42, 43],
            "cost": [1.0, 2.0, 3.0],
            "x": [1.0, 2.0, 3.0],
        }
    )
    (block,) = PredictionTables(CONTRACT, "3", Pii(CONTRACT, KEY)).blocks(table)
    assert block.rows.schema.names == ["model", "version", "id", "at", "features.email", "context.zip", "features.x"]
    hashed = hash_text(KEY, "ana@x")
    assert block.rows.column("features.email").to_pylist() == [hashed, None, hashed]
    assert block.rows.column("context.zip").to_pylist() == ["109", None, "1"]


def test_numbers_in_a_hashed_column_are_hashed_as_text() -> None:
    table = pa.table({"id": ["a"], "email": [7]})
    (block,) = PredictionTables(CONTRACT, "3", Pii(CONTRACT, KEY)).blocks(table)
    assert block.rows.column("features.email").to_pylist() == [hash_text(KEY, "7")]


@pytest.mark.parametrize("key", [None, "", b"", "short"])
def test_a_contract_that_hashes_needs_a_key(key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(PiiKeyError, match=r"the contract of m hashes email, and the key .*; set BAROGRAPH_PII_KEY"):
        Publisher.from_contract(CONTRACT, version="1", bootstrap_servers="127.0.0.1:1", key=key)


def test_the_key_is_an_argument_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "a key of sixteen bytes")
    assert read_key(CONTRACT) == KEY
    assert read_key(CONTRACT, "another key of sixteen") == b"another key of sixteen"
    assert read_key(Contract(model="m")) == b"", "no hash, no key"


def test_messages_contain_no_personal_data() -> None:
    producer = RecordingProducer()
    publisher = Publisher(CONTRACT, "3", producer.outbox(), key=KEY)
    publisher.prediction(
        id="a", features={"email": "ana@x", "age": 98765.4321}, context={"zip": "10997"}, metrics={"cost": 5}
    )
    publisher.predictions(pa.table({"id": ["a"], "email": ["ana@x"], "zip": ["10997"]}))
    publisher.close()
    single, batch = producer.values
    for secret in (b"ana@x", b"10997", b"98765.4321", b"cost"):
        assert secret not in single
    assert b"ana@x" not in batch
    assert b"10997" not in batch
    event = json.loads(single)
    assert (event["features"], event["context"]) == ({"email": hash_text(KEY, "ana@x")}, {"zip": "109"})
    assert "metrics" not in event
