"""Personal data does not leave the process: JSON and Arrow values are hashed with a key, truncated or dropped."""

from __future__ import annotations

import hashlib
import hmac
import json

import pyarrow as pa
import pytest
from barograph import Contract, Publisher
from barograph.contract import Field
from barograph.publisher.pii import KEY_VARIABLE, FieldHash, Pii, PiiKeyError, read_key, truncate_text
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
EMAIL = FieldHash(KEY, "m", "features.email")


def encoded(*parts: str) -> bytes:
    return b"".join(len(part.encode()).to_bytes(8, "big") + part.encode() for part in ("barograph pii", *parts))


def test_the_hash_is_hmac_sha_256_under_a_key_of_the_field() -> None:
    field_key = hmac.new(KEY, encoded("field", "m", "features.email"), hashlib.sha256).digest()
    digest = hmac.new(field_key, "ana@größe".encode(), hashlib.sha256).hexdigest()[:32]
    own_id = hmac.new(KEY, encoded("key id"), hashlib.sha256).hexdigest()[:6]
    assert EMAIL("ana@größe") == f"{own_id}:{digest}"


def test_equal_values_of_two_fields_or_models_are_not_linkable() -> None:
    contract = Contract(
        model="m",
        fields=(
            Field(name="email", type="category", source="features.email", pii="hash"),
            Field(name="payer", type="category", source="features.payer", pii="hash"),
        ),
    )
    both = {"email": "ana@x", "payer": "ana@x"}
    first = Pii(contract, KEY).protect("features", both)
    second = Pii(Contract(model="n", fields=contract.fields), KEY).protect("features", both)
    digests = {value.rpartition(":")[2] for value in (*first.values(), *second.values())}
    assert len(digests) == 4
    # The boundary between the two names is part of what is hashed.
    assert FieldHash(KEY, "ab", "c")("x") != FieldHash(KEY, "a", "bc")("x")


def test_truncated_values_are_never_published_whole() -> None:
    pii = Pii(CONTRACT, KEY)
    published = {"10997": "10", "+4930123456": "+49", "Anna": "An", "Ann": "A", "Al": "A", "A": "_", "": "_"}
    for text, expected in published.items():
        assert truncate_text(text) == expected
        assert pii.protect("context", {"zip": text}) == {"zip": expected}
    assert pii.protect_column("context.zip", pa.array([*published])) == pa.array([*published.values()])


def test_maps_are_protected_and_the_callers_maps_do_not_change() -> None:
    pii = Pii(CONTRACT, KEY)
    features = {"email": "ana@x", "age": 41, "x": 1.5}
    assert pii.protect("features", features) == {"email": EMAIL("ana@x"), "x": 1.5}
    assert features == {"email": "ana@x", "age": 41, "x": 1.5}
    assert pii.protect("context", {"zip": "10997", "channel": "web"}) == {"zip": "10", "channel": "web"}
    assert pii.protect("metrics", {"cost": 3.0}) == {}
    # Nulls stay null, and other values are hashed as text.
    assert pii.protect("features", {"email": None}) == {"email": None}
    assert pii.protect("features", {"email": 7}) == {"email": EMAIL("7")}
    assert pii.protect("context", {"zip": None}) == {"zip": None}


def test_columns_are_protected_as_maps_are() -> None:
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "email": pa.array(["ana@x", None, "ana@x"]).dictionary_encode(),
            "zip": ["10997", None, "1"],
            **{"age": [41, 42, 43], "cost": [1.0, 2.0, 3.0], "x": [1.0, 2.0, 3.0]},
        }
    )
    (block,) = PredictionTables(CONTRACT, "3", Pii(CONTRACT, KEY)).blocks(table)
    assert block.rows.schema.names == ["model", "version", "id", "at", "features.email", "context.zip", "features.x"]
    hashed = EMAIL("ana@x")
    assert block.rows.column("features.email").to_pylist() == [hashed, None, hashed]
    assert block.rows.column("context.zip").to_pylist() == ["10", None, "_"]
    (block,) = PredictionTables(CONTRACT, "3", Pii(CONTRACT, KEY)).blocks(pa.table({"id": ["a"], "email": [7]}))
    assert block.rows.column("features.email").to_pylist() == [EMAIL("7")]


def test_a_contract_that_hashes_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    for key in (None, "", b"", "short"):
        with pytest.raises(PiiKeyError, match=r"the contract of m hashes email, and the key .*; set BAROGRAPH_PII_KEY"):
            Publisher.from_contract(CONTRACT, version="1", bootstrap_servers="127.0.0.1:1", key=key)
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
    single, batch, _farewell = producer.values
    for secret in (b"ana@x", b"10997", b"98765.4321", b"cost"):
        assert secret not in single
    assert b"ana@x" not in batch
    assert b"10997" not in batch
    event = json.loads(single)
    assert (event["features"], event["context"]) == ({"email": EMAIL("ana@x")}, {"zip": "10"})
    assert "metrics" not in event
