"""Tables of events: any table, any types, one form in Arrow."""

from __future__ import annotations

import zlib
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here
import polars as pl
import pyarrow as pa
import pytest
from barograph import Contract, Publisher
from barograph.contract import Field, Slice
from barograph.events import BATCH_BYTES, BATCH_ROWS, CONTENT_TYPE_HEADER, MAX_EVENT_BYTES, label_key
from barograph.publisher.batches import send_labels, send_predictions
from barograph.publisher.outbox import Outbox
from barograph.publisher.pii import Pii
from barograph.publisher.tables import BLOCK_ROWS, LabelTables, PredictionTables, as_table, by_partition
from barograph.values import InvalidEvent

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
    blocks = list(PredictionTables(contract, "3", Pii(contract, b"k" * 16)).blocks(as_table(table)))
    return pa.Table.from_batches([block.rows for block in blocks]), sum(block.n_rejected for block in blocks)


def column(values: Any, kind: pa.DataType | None = None, name: str = "features.x") -> pa.ChunkedArray:
    table, refused = mapped(pa.table({"id": ["a"] * len(values), name: pa.array(values, kind)}))
    assert refused == 0
    return table.column(name)


def test_columns_get_the_names_of_the_batch() -> None:
    names = ["id", "at", "x", "hue", "tokens", "tail", "origin", "class_", "score", "scores.late", "features.new"]
    table = pa.table({name: pa.array([1]) for name in names})
    assert mapped(table)[0].column_names == [
        *("model", "version", "id", "at", "features.x", "features.hue", "metrics.tokens", "features.tail"),
        *("context.origin", "class", "score", "scores.late", "features.new"),
    ]


def test_columns_that_mean_nothing_are_told() -> None:
    tables = PredictionTables(CONTRACT, "3", Pii(CONTRACT, b""))
    found, left_out = tables.columns(["id", "email", "seq", "producer", "labels.x", "features."])
    assert found == {"id": 0}
    assert left_out == ["email", "labels.x", "features."]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["x"], "the table has no column id"),
        (["id", "x", "features.x"], "the columns 'x' and 'features.x' both mean features.x; drop one"),
        (["id", "class", "class_"], "both mean class"),
    ],
)
def test_columns_that_do_not_fit_are_refused(names: list[str], told: str) -> None:
    with pytest.raises(InvalidEvent, match=told):
        mapped(pa.table({name: pa.array([1]) for name in names}))


def test_the_models_name_must_be_the_contracts() -> None:
    assert mapped(pa.table({"id": ["a", "b"], "model": ["m", None]}))[0].column("model").to_pylist() == ["m", "m"]
    with pytest.raises(InvalidEvent, match="the column model holds 'other'; this publisher is for 'm'"):
        mapped(pa.table({"id": ["a", "b"], "model": ["m", "other"]}))


def test_a_column_of_versions_wins_where_it_is_filled() -> None:
    table = pa.table({"id": ["a", "b", "c"], "version": ["7", None, ""]})
    assert mapped(table)[0].column("version").to_pylist() == ["7", "3", "3"]


@pytest.mark.parametrize(
    ("values", "kind", "into"),
    [
        ([1.5, None, float("nan")], pa.float64(), pa.float64()),
        ([1.5, None], pa.float32(), pa.float32()),
        ([1, None], pa.int8(), pa.int8()),
        ([True, None], pa.bool_(), pa.bool_()),
        (["a", None], pa.string(), pa.string()),
        (["a", None], pa.large_string(), pa.string()),
        (["a", None], pa.string_view(), pa.string()),
        (["a", None], pa.dictionary(pa.int32(), pa.large_string()), pa.string()),
        ([Decimal("1.25"), None], pa.decimal128(5, 2), pa.float64()),
        ([date(2024, 1, 1), None], pa.date32(), MS),
        ([datetime(2024, 1, 1, tzinfo=UTC), None], pa.timestamp("ns", "Europe/Berlin"), MS),
        ([None, None], pa.null(), pa.null()),
        ([[1], None], pa.list_(pa.int64()), pa.list_(pa.int64())),
    ],
    ids=str,
)
def test_features_come_in_few_types(values: list[Any], kind: pa.DataType, into: pa.DataType) -> None:
    got = column(values, kind)
    assert got.type == into
    assert got.null_count == sum(value is None for value in values)


def test_half_floats_become_floats() -> None:
    import numpy as np

    got = column(np.array([1.5, 2.5], dtype=np.float16))
    assert (got.type, got.to_pylist()) == (pa.float32(), [1.5, 2.5])


@pytest.mark.parametrize("name", ["context.seat", "arm", "class", "status", "error"])
def test_members_of_text_become_text(name: str) -> None:
    assert column([7, None], pa.int64(), name).to_pylist() == ["7", None]
    assert column([True, False], pa.bool_(), name).to_pylist() == ["true", "false"]
    with pytest.raises(InvalidEvent, match=f"the column {name} has the type list"):
        column([[1]], None, name)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1704067200123], pa.int64()),
        ([1704067200123.0], pa.float64()),
        ([1704067200123999], pa.timestamp("us", "UTC")),
        ([1704067200123], pa.timestamp("ms")),
        ([1704067200123456789], pa.timestamp("ns", "America/New_York")),
        (["2024-01-01T02:00:00.123456+02:00"], pa.string()),
        (["2024-01-01T00:00:00.123Z"], pa.large_string()),
        (["2024-01-01T00:00:00.123Z"], pa.dictionary(pa.int8(), pa.string())),
    ],
    ids=str,
)
def test_times_come_in_many_types(values: list[Any], kind: pa.DataType) -> None:
    got = column(values, kind, "at")
    assert got.type == MS
    assert got.cast(pa.int64()).to_pylist() == [1704067200123]


def test_without_times_rows_are_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_123_999_999)
    table, _ = mapped(pa.table({"id": ["a", "b"]}))
    assert table.column("at").cast(pa.int64()).to_pylist() == [1700000000123] * 2


@pytest.mark.parametrize(
    "times",
    [
        pa.array([1, None, 3], pa.int64()),
        pa.array([1.0, float("nan"), 3.0]),
        pa.array([1.0, float("inf"), 3.0]),
        pa.array(["2024-01-01T00:00:00Z", "yesterday", "2024-01-01T00:00:00Z"]),
        pa.array(["2024-01-01T00:00:00Z", "2024-01-01T00:00:00", "2024-01-01T00:00:00Z"]),
        pa.array([1, None, 3], pa.timestamp("s")),
    ],
    ids=str,
)
def test_a_row_without_time_is_refused_alone(times: pa.Array) -> None:
    table, refused = mapped(pa.table({"id": ["a", "b", "c"], "at": times}))
    assert (table.column("id").to_pylist(), refused) == (["a", "c"], 1)


def test_a_row_without_id_is_refused_alone() -> None:
    table, refused = mapped(pa.table({"id": ["a", None, "", "d"], "x": [1.0, 2.0, 3.0, 4.0]}))
    assert (table.column("id").to_pylist(), table.column("features.x").to_pylist(), refused) == (["a", "d"], [1, 4], 2)


def test_a_column_that_holds_no_times_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="the column at has the type bool"):
        column([True], pa.bool_(), "at")


def test_large_tables_are_prepared_in_blocks() -> None:
    n = BLOCK_ROWS + 1
    chunks = [pa.table({"id": pa.array([str(i)])}) for i in range(3)]
    blocks = PredictionTables(CONTRACT, "3", Pii(CONTRACT, b"")).blocks
    assert [block.rows.num_rows for block in blocks(pa.table({"id": ["a"] * n}))] == [BLOCK_ROWS, 1]
    assert [block.rows.num_rows for block in blocks(pa.concat_tables(chunks))] == [3], "chunks are put together"
    assert list(blocks(pa.table({"id": pa.array([], pa.string())}))) == []


FRAME = {"id": ["a", "b"], "x": [1.5, None], "hue": ["red", "blue"]}


@pytest.mark.parametrize(
    "table",
    [
        pa.table(FRAME),
        pa.table(FRAME).to_batches()[0],
        pd.DataFrame(FRAME),
        pd.DataFrame(FRAME).astype({"hue": "category"}),
        pd.DataFrame(FRAME).set_index("id"),
        pl.DataFrame(FRAME),
        pl.DataFrame(FRAME, schema_overrides={"hue": pl.Categorical}),
    ],
    ids=["table", "batch", "pandas", "pandas category", "pandas index", "polars", "polars category"],
)
def test_tables_of_all_makes_are_the_same(table: Any) -> None:
    rows, _ = mapped(table)
    assert rows.column("id").to_pylist() == ["a", "b"]
    assert rows.column("features.x").to_pylist() == [1.5, None]
    assert rows.column("features.hue").to_pylist() == ["red", "blue"]
    assert rows.column("features.hue").type == pa.string()


def test_what_only_knows_to_arrow_is_a_table() -> None:
    class Old:
        def to_arrow(self) -> pa.Table:
            return pa.table(FRAME)

    assert as_table(Old()).num_rows == 2


@pytest.mark.parametrize("data", [[{"id": "a"}], {"id": ["a"]}, None, "a.parquet"])
def test_what_is_no_table_is_refused(data: Any) -> None:
    with pytest.raises(InvalidEvent, match="is no table; pass a pyarrow Table"):
        as_table(data)


def labels(**columns: Any) -> tuple[pa.Table, int]:
    blocks = list(LabelTables("m").blocks(pa.table(columns)))
    return pa.Table.from_batches([block.rows for block in blocks]), sum(block.n_rejected for block in blocks)


def test_labels_that_are_not_known_are_refused_alone() -> None:
    table, refused = labels(id=["a", "b", "c", None], label=[True, None, False, True], at=[1, 2, None, 4])
    assert (table.to_pylist(), refused) == (
        [{"model": "m", "id": "a", "label": True, "at": datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)}],
        3,
    )
    table, refused = labels(id=["a", "b", "c"], label=[0.5, float("nan"), float("inf")])
    assert (table.column("label").to_pylist(), refused) == ([0.5], 2)


def test_label_tables_need_id_and_label() -> None:
    with pytest.raises(InvalidEvent, match="no column label"):
        labels(id=["a"])
    with pytest.raises(InvalidEvent, match="label has the type list"):
        labels(id=["a"], label=[[1]])


def test_rows_of_labels_find_the_partition_of_their_key() -> None:
    table, _ = labels(id=[f"größe-{i}" for i in range(100)], label=[True] * 100)
    (rows,) = table.to_batches()
    cut = dict(by_partition(rows, "m", 3))
    assert set(cut) == {0, 1, 2}
    for partition, own in cut.items():
        for event_id in own.column("id").to_pylist():
            assert zlib.crc32(label_key("m", event_id)) % 3 == partition
    assert sum(own.num_rows for own in cut.values()) == 100


class Sent:
    """An outbox that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes, dict[str, Any]]] = []
        self.outbox = Outbox({}, wait=False, factory=lambda _settings: self)

    def produce(self, topic: str, value: bytes, **where: Any) -> None:
        self.messages.append((topic, value, where))

    def poll(self, _timeout_s: float) -> int:
        return 0

    def flush(self, _timeout_s: float) -> int:
        return 0

    def purge(self) -> None:
        pass

    def __len__(self) -> int:
        return 0

    def rows(self) -> list[int]:
        return [pa.ipc.open_stream(value).read_all().num_rows for _, value, _ in self.messages]


@pytest.fixture
def sent() -> Any:
    made = Sent()
    yield made
    made.outbox.close(0)


def test_wide_rows_travel_in_smaller_messages(sent: Sent) -> None:
    (rows,) = mapped(pa.table({"id": ["a"] * 100, "x": ["y" * 20_000] * 100}))[0].to_batches()
    assert send_predictions(sent.outbox, "t", rows) == 100
    assert len(sent.messages) > 2
    assert sum(sent.rows()) == 100
    assert all(len(value) <= BATCH_BYTES for _, value, _ in sent.messages)
    assert all(dict(where["headers"])[CONTENT_TYPE_HEADER] for _, _, where in sent.messages)


def test_a_row_too_large_for_kafka_is_dropped_alone(sent: Sent) -> None:
    (rows,) = mapped(pa.table({"id": ["a", "b", "c"], "x": ["y", "y" * MAX_EVENT_BYTES, "y"]}))[0].to_batches()
    assert send_predictions(sent.outbox, "t", rows) == 2
    assert sum(sent.rows()) == 2
    assert sent.outbox.stats.dropped == {"too-large": 1}


def test_labels_go_one_by_one_until_the_partitions_are_known(sent: Sent) -> None:
    (rows,) = labels(id=["a", "b", "c"], label=[True, False, True], at=[1, 2, 3])[0].to_batches()
    assert send_labels(sent.outbox, "t", "m", rows) == 3
    assert [where for _, _, where in sent.messages] == [{"key": f"m\0{i}".encode()} for i in "abc"]
    assert sent.messages[0][1] == b'{"model":"m","id":"a","label":true,"at":1}'
    sent.messages.clear()
    sent.outbox._partitions["t"] = (3, 1e18)
    assert send_labels(sent.outbox, "t", "m", rows) == 3
    assert sorted(where["partition"] for _, _, where in sent.messages) == [0, 2]
    assert sorted(sent.rows()) == [1, 2]


def test_a_table_that_cannot_be_read_is_counted_by_its_rows(sent: Sent) -> None:
    publisher = Publisher(CONTRACT, "3", sent.outbox)
    assert publisher.predictions(pa.table({"x": [1.0, 2.0]})) == 0
    assert publisher.predictions([1, 2, 3]) == 0
    assert publisher.predictions(None) == 0
    assert publisher.labels(pa.table({"x": [1.0, 2.0]})) == 0
    assert sent.outbox.stats.dropped == {"invalid": 2 + 3 + 1 + 2}


def test_rows_that_are_refused_leave_gaps_in_the_numbers(sent: Sent) -> None:
    publisher = Publisher(CONTRACT, "3", sent.outbox)
    assert publisher.predictions(pa.table({"id": ["a", None, "c"]})) == 2
    assert publisher.predictions(pa.table({"id": ["d"]})) == 1
    seqs = [pa.ipc.open_stream(value).read_all().column("seq").to_pylist() for _, value, _ in sent.messages]
    assert seqs == [[0, 1], [3]]


def test_numbers_go_on_over_messages(sent: Sent) -> None:
    (rows,) = mapped(pa.table({"id": ["a"] * (BATCH_ROWS + 5)}))[0].to_batches()
    send_predictions(sent.outbox, "t", rows)
    assert sent.rows() == [BATCH_ROWS, 5]
