import enum
import hashlib
import hmac
import json
import zlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here
import polars as pl
import pyarrow as pa
import pytest
from barograph import Contract, Publisher
from barograph.contract import Field, Slice
from barograph.events import BATCH_BYTES, CONTENT_TYPE_HEADER, MAX_EVENT_BYTES, label_key
from barograph.publisher.batches import send_labels, send_predictions
from barograph.publisher.outbox import Outbox
from barograph.publisher.pii import KEY_VARIABLE, FieldHash, Pii, PiiKeyError, read_key, truncate_text
from barograph.publisher.tables import BLOCK_ROWS, LabelTables, PredictionTables, as_table, by_partition
from barograph.values import InvalidEvent

from tests.support.scripted_kafka import RecordingProducer

MS = pa.timestamp("ms", "UTC")
CONTRACT = Contract(
    model="m",
    fields=(
        Field(name="x", type="float", source="features.x"),
        Field(name="colour", type="category", source="features.hue"),
        Field(name="tokens", type="int", source="metrics.tokens"),
        Field(name="feature_id", type="category", source="features.id"),
    ),
    slices=(Slice(name="origin", source="context.origin"), Slice(name="x_too", source="context.x")),
    ignored={"tail": "an id"},
)


def mapped(table: Any, contract: Contract = CONTRACT) -> tuple[pa.Table, int]:
    tables = PredictionTables(contract, "3", Pii(contract, b"k" * 16), wall_clock_ns=lambda: 1_700_000_000_123_999_999)
    blocks = list(tables.blocks(as_table(table)))
    return pa.Table.from_batches([block.rows for block in blocks]), sum(block.n_rejected for block in blocks)


def column(values: Any, kind: pa.DataType | None = None, name: str = "features.x") -> pa.ChunkedArray:
    table, n_rejected = mapped(pa.table({"id": ["a"] * len(values), name: pa.array(values, kind)}))
    assert n_rejected == 0
    return table.column(name)


def test_columns_get_the_names_of_the_arrow_format() -> None:
    names = ["id", "at", "x", "hue", "tokens", "tail", "origin", "class_", "score", "scores.late", "features.new"]
    table = pa.table({name: pa.array([1]) for name in names})
    assert mapped(table)[0].column_names == [
        *("model", "version", "id", "at", "features.x", "features.hue", "metrics.tokens", "features.tail"),
        *("context.origin", "class", "score", "scores.late", "features.new"),
    ]


def test_a_role_is_primary_or_shadow_unless_the_contract_has_a_field_role() -> None:
    roles = ["primary", "shadow", None]
    assert column(roles, name="role").to_pylist() == roles
    with pytest.raises(InvalidEvent, match="the column role holds 'canary'; make it one of primary, shadow"):
        column(["shadow", "canary"], name="role")
    contract = Contract(model="m", fields=(Field(name="role", type="category", source="features.role"),))
    table, _ = mapped(pa.table({"id": ["a"], "role": ["manager"]}), contract)
    assert table.column("features.role").to_pylist() == ["manager"]
    assert "role" not in table.column_names


def test_missing_and_duplicate_columns_and_other_models_are_rejected() -> None:
    for names, message in (
        (["x"], "the table has no column id"),
        (["id", "x", "features.x"], "the columns 'x' and 'features.x' both mean features.x; drop one"),
        (["id", "class", "class_"], "both mean class"),
    ):
        with pytest.raises(InvalidEvent, match=message):
            mapped(pa.table({name: pa.array([1]) for name in names}))
    assert mapped(pa.table({"id": ["a", "b"], "model": ["m", None]}))[0].column("model").to_pylist() == ["m", "m"]
    with pytest.raises(InvalidEvent, match="the column model holds 'other'; this publisher is for 'm'"):
        mapped(pa.table({"id": ["a", "b"], "model": ["m", "other"]}))


def test_features_are_converted_to_few_types() -> None:
    for values, kind, expected in (
        ([1.5, None, float("nan")], pa.float64(), pa.float64()),
        ([1, None], pa.int8(), pa.int8()),
        (["a", None], pa.string(), pa.string()),
        (["a", None], pa.string_view(), pa.string()),
        (["a", None], pa.dictionary(pa.int32(), pa.large_string()), pa.string()),
        ([Decimal("1.25"), None], pa.decimal128(5, 2), pa.float64()),
        ([date(2024, 1, 1), None], pa.date32(), MS),
        ([datetime(2024, 1, 1, tzinfo=UTC), None], pa.timestamp("ns", "Europe/Berlin"), MS),
        ([None, None], pa.null(), pa.null()),
        ([[1], None], pa.list_(pa.int64()), pa.list_(pa.int64())),
    ):
        converted = column(values, kind)
        assert converted.type == expected, kind
        assert converted.null_count == sum(value is None for value in values), kind
    converted = column(np.array([1.5, 2.5], dtype=np.float16))
    assert (converted.type, converted.to_pylist()) == (pa.float32(), [1.5, 2.5])


def test_text_members_are_converted_to_text() -> None:
    for name in ("context.seat", "arm", "class", "status", "error"):
        assert column([7, None], pa.int64(), name).to_pylist() == ["7", None], name
        assert column([True, False], pa.bool_(), name).to_pylist() == ["true", "false"], name
        with pytest.raises(InvalidEvent, match=f"the column {name} has the type list"):
            column([[1]], None, name)


def test_times_of_many_types_are_accepted() -> None:
    for value, kind in (
        (1704067200123, pa.int64()),
        (1704067200123, pa.timestamp("ms")),
        (1704067200123456789, pa.timestamp("ns", "America/New_York")),
        ("2024-01-01T02:00:00.123456+02:00", pa.string()),
        ("2024-01-01T00:00:00.123Z", pa.large_string()),
    ):
        converted = column([value], kind, "at")
        assert (converted.type, converted.cast(pa.int64()).to_pylist()) == (MS, [1704067200123]), kind
    with pytest.raises(InvalidEvent, match="the column at has the type bool"):
        column([True], pa.bool_(), "at")


def test_a_row_without_a_time_or_an_id_is_rejected_alone() -> None:
    for times in (
        pa.array([1, None, 3], pa.int64()),
        pa.array([1.0, float("nan"), 3.0]),
        pa.array([1.0, float("inf"), 3.0]),
        pa.array(["2024-01-01T00:00:00Z", "yesterday", "2024-01-01T00:00:00Z"]),
        pa.array(["2024-01-01T00:00:00Z", "2024-01-01T00:00:00", "2024-01-01T00:00:00Z"]),
        pa.array([1, None, 3], pa.timestamp("s")),
    ):
        table, n_rejected = mapped(pa.table({"id": ["a", "b", "c"], "at": times}))
        assert (table.column("id").to_pylist(), n_rejected) == (["a", "c"], 1), times
    table, n_rejected = mapped(pa.table({"id": ["a", None, "", "d"], "x": [1.0, 2.0, 3.0, 4.0]}))
    assert (table.column("id").to_pylist(), table.column("features.x").to_pylist()) == (["a", "d"], [1, 4])
    assert n_rejected == 2


def test_large_tables_are_converted_in_blocks() -> None:
    chunks = pa.concat_tables([pa.table({"id": [str(i)]}) for i in range(3)])
    none = pa.table({"id": pa.array([], pa.string())})
    tables = PredictionTables(CONTRACT, "3", Pii(CONTRACT, b""))
    for table, sizes in ((pa.table({"id": ["a"] * (BLOCK_ROWS + 1)}), [BLOCK_ROWS, 1]), (chunks, [3]), (none, [])):
        assert [block.rows.num_rows for block in tables.blocks(table)] == sizes


def test_tables_of_all_libraries_give_the_same_rows() -> None:
    columns = {"id": ["a", "b"], "x": [1.5, None], "hue": ["red", "blue"]}
    frame = pd.DataFrame(columns)
    for name, table in {
        "table": pa.table(columns),
        "batch": pa.table(columns).to_batches()[0],
        "pandas": frame,
        "pandas category": frame.astype({"hue": "category"}),
        "pandas index": frame.set_index("id"),
        "polars": pl.DataFrame(columns),
        "polars category": pl.DataFrame(columns, schema_overrides={"hue": pl.Categorical}),
    }.items():
        rows, _ = mapped(table)
        assert rows.column("id").to_pylist() == ["a", "b"], name
        assert rows.column("features.x").to_pylist() == [1.5, None], name
        assert rows.column("features.hue").to_pylist() == ["red", "blue"], name
        assert rows.column("features.hue").type == pa.string(), name

    class Old:
        def to_arrow(self) -> pa.Table:
            return pa.table(columns)

    assert as_table(Old()).num_rows == 2
    for data in ([{"id": "a"}], {"id": ["a"]}, None, "a.parquet"):
        with pytest.raises(InvalidEvent, match="is not a table; pass a pyarrow Table"):
            as_table(data)


def labels(**columns: Any) -> tuple[pa.Table, int]:
    blocks = list(LabelTables("m").blocks(pa.table(columns)))
    return pa.Table.from_batches([block.rows for block in blocks]), sum(block.n_rejected for block in blocks)


def test_unknown_labels_are_rejected_alone_and_labels_of_other_types_together() -> None:
    table, n_rejected = labels(id=["a", "b", "c", None], label=[True, None, False, True], at=[1, 2, None, 4])
    assert (table.to_pylist(), n_rejected) == (
        [{"model": "m", "id": "a", "label": True, "at": datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)}],
        3,
    )
    table, n_rejected = labels(id=["a", "b", "c"], label=[0.5, float("nan"), float("inf")])
    assert (table.column("label").to_pylist(), n_rejected) == ([0.5], 2)
    with pytest.raises(InvalidEvent, match="label has the type list<item: int64>; make it flags, numbers or text"):
        labels(id=["a"], label=[[1]])


def test_rows_of_labels_are_grouped_by_the_partition_of_their_key() -> None:
    table, _ = labels(id=[f"größe-{i}" for i in range(100)], label=[True] * 100)
    (rows,) = table.to_batches()
    result = {number: part.column("id").to_pylist() for number, part in by_partition(rows, "m", 3)}
    ids = rows.column("id").to_pylist()
    assert result == {number: [i for i in ids if zlib.crc32(label_key("m", i)) % 3 == number] for number in range(3)}


@pytest.fixture
def producer() -> RecordingProducer:
    return RecordingProducer()


@pytest.fixture
def outbox(producer: RecordingProducer) -> Iterator[Outbox]:
    outbox = producer.outbox()
    yield outbox
    outbox.close(0)


def batches(producer: RecordingProducer) -> list[pa.Table]:
    return [pa.ipc.open_stream(value).read_all() for value in producer.values]


def row_counts(producer: RecordingProducer) -> list[int]:
    return [batch.num_rows for batch in batches(producer)]


def test_wide_rows_are_sent_in_smaller_messages_or_dropped(producer: RecordingProducer, outbox: Outbox) -> None:
    (rows,) = mapped(pa.table({"id": ["a"] * 100, "x": ["y" * 20_000] * 100}))[0].to_batches()
    assert send_predictions(outbox, "t", rows) == 100
    assert len(producer.messages) > 2
    assert sum(row_counts(producer)) == 100
    assert all(len(value) <= BATCH_BYTES for _, value, _ in producer.messages)
    assert all(dict(options["headers"])[CONTENT_TYPE_HEADER] for _, _, options in producer.messages)
    # A row that is too large for Kafka is dropped alone.
    producer.messages.clear()
    (rows,) = mapped(pa.table({"id": ["a", "b", "c"], "x": ["y", "y" * MAX_EVENT_BYTES, "y"]}))[0].to_batches()
    assert send_predictions(outbox, "t", rows) == 2
    assert sum(row_counts(producer)) == 2
    assert outbox.stats.dropped == {"too-large": 1}


def test_labels_are_sent_singly_until_the_partition_count_is_known(producer: RecordingProducer, outbox: Outbox) -> None:
    (rows,) = labels(id=["a", "b", "c"], label=[True, False, True], at=[1, 2, 3])[0].to_batches()
    assert send_labels(outbox, "t", "m", rows) == 3
    assert [options for _, _, options in producer.messages] == [{"key": f"m\0{i}".encode()} for i in "abc"]
    assert producer.messages[0][1] == b'{"model":"m","id":"a","label":true,"at":1}'
    producer.messages.clear()
    outbox._partitions["t"] = (3, 1e18)
    assert send_labels(outbox, "t", "m", rows) == 3
    assert sorted(options["partition"] for _, _, options in producer.messages) == [0, 2]
    assert sorted(row_counts(producer)) == [1, 2]


def test_rejected_rows_and_tables_are_counted_and_leave_gaps(producer: RecordingProducer, outbox: Outbox) -> None:
    publisher = Publisher(CONTRACT, "3", outbox)
    assert publisher.predictions(pa.table({"id": ["a", None, "c"]})) == 2
    assert publisher.predictions(pa.table({"id": ["d"]})) == 1
    assert [batch.column("seq").to_pylist() for batch in batches(producer)] == [[0, 1], [3]]
    for unreadable in (pa.table({"x": [1.0, 2.0]}), [1, 2, 3], None):
        assert publisher.predictions(unreadable) == 0
    assert publisher.labels(pa.table({"x": [1.0, 2.0]})) == 0
    assert outbox.stats.dropped == {"invalid": 1 + 2 + 3 + 1 + 2}


KEY = b"a key of sixteen bytes"
PERSONAL = Contract(
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
    both = {"email": "ana@x", "payer": "ana@x"}
    fields = tuple(Field(name=name, type="category", source=f"features.{name}", pii="hash") for name in both)
    protected = [Pii(Contract(model=model, fields=fields), KEY).protect("features", both) for model in ("m", "n")]
    assert len({value.rpartition(":")[2] for each in protected for value in each.values()}) == 4
    # The boundary between the two names is part of what is hashed.
    assert FieldHash(KEY, "ab", "c")("x") != FieldHash(KEY, "a", "bc")("x")


def test_truncated_values_are_never_published_whole() -> None:
    pii = Pii(PERSONAL, KEY)
    published = {"10997": "10", "+4930123456": "+49", "Anna": "An", "Ann": "A", "Al": "A", "A": "_", "": "_"}
    for text, expected in published.items():
        assert truncate_text(text) == expected
        assert pii.protect("context", {"zip": text}) == {"zip": expected}
    assert pii.protect_column("context.zip", pa.array([*published])) == pa.array([*published.values()])


def test_maps_are_protected_and_the_callers_maps_do_not_change() -> None:
    pii = Pii(PERSONAL, KEY)
    features = {"email": "ana@x", "age": 41, "x": 1.5}
    assert pii.protect("features", features) == {"email": EMAIL("ana@x"), "x": 1.5}
    assert features == {"email": "ana@x", "age": 41, "x": 1.5}
    assert pii.protect("context", {"zip": "10997", "channel": "web"}) == {"zip": "10", "channel": "web"}
    assert pii.protect("metrics", {"cost": 3.0}) == {}
    # A key that is written as text does not slip past.
    column = enum.Enum("column", {"EMAIL": "email"})
    odd: dict[Any, Any] = {column.EMAIL: "ana@x", 7: 1.0}
    assert pii.protect("features", odd) == {"email": EMAIL("ana@x"), "7": 1.0}
    assert odd[column.EMAIL] == "ana@x"
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
    (block,) = PredictionTables(PERSONAL, "3", Pii(PERSONAL, KEY)).blocks(table)
    assert block.rows.schema.names == ["model", "version", "id", "at", "features.email", "context.zip", "features.x"]
    hashed = EMAIL("ana@x")
    assert block.rows.column("features.email").to_pylist() == [hashed, None, hashed]
    assert block.rows.column("context.zip").to_pylist() == ["10", None, "_"]
    (block,) = PredictionTables(PERSONAL, "3", Pii(PERSONAL, KEY)).blocks(pa.table({"id": ["a"], "email": [7]}))
    assert block.rows.column("features.email").to_pylist() == [EMAIL("7")]


def test_a_contract_that_hashes_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    for key in (None, "", b"", "short"):
        with pytest.raises(PiiKeyError, match=r"the contract of m hashes email, and the key .*; set BAROGRAPH_PII_KEY"):
            Publisher.from_contract(PERSONAL, version="1", bootstrap_servers="127.0.0.1:1", key=key)
    monkeypatch.setenv(KEY_VARIABLE, "a key of sixteen bytes")
    assert read_key(PERSONAL) == KEY
    assert read_key(PERSONAL, "another key of sixteen") == b"another key of sixteen"
    assert read_key(Contract(model="m")) == b"", "no hash, no key"


def test_messages_contain_no_personal_data() -> None:
    producer = RecordingProducer()
    publisher = Publisher(PERSONAL, "3", producer.outbox(), key=KEY)
    features = {"email": "ana@x", "age": 98765.4321}
    publisher.prediction(id="a", features=features, context={"zip": "10997"}, metrics={"cost": 5})
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
