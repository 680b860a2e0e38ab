"""Arrow messages that unpack to more than the limit are rejected before they are unpacked."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph.events import ARROW_CONTENT_TYPE, Reason

from streams.events import arrow_decoder
from streams.events.arrow_decoder import BYTES_OMITTED, ArrowDecoder
from streams.events.arrow_message import (
    MAX_ROWS,
    MAX_UNPACKED_BYTES,
    UnpackedError,
    open_message,
    open_table,
    rejection_reason,
)
from streams.events.batch import MAX_ARROW_MESSAGES, MessageBatch, portion_size
from streams.recorder.arrow_rows import ArrowRows
from streams.recorder.labels import decode_arrow_labels
from streams.registry.registry import RegisteredBaseline, build_registry
from tests.support.pipeline import simple_baseline, simple_contract

NOW_MS = 1_790_000_000_000
KAFKA_BYTES = 1 << 20
FIRST = pa.array(np.zeros(9000, np.int8))
LONG = "y" * 900_000


def stream(columns: dict[str, Any] | pa.Table, compression: str | None = None) -> bytes:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def batch(*values: bytes) -> MessageBatch:
    n = len(values)
    return MessageBatch(list(values), np.zeros(n, np.int32), np.arange(n), np.full(n, NOW_MS))


def view_of_one_text() -> pa.Array:
    view = (100_000).to_bytes(4, "little") + b"qqqq" + bytes(8)
    return pa.Array.from_buffers(
        pa.string_view(), 9000, [None, pa.py_buffer(view * 9000), pa.py_buffer(b"q" * 100_000)]
    )


HUGE = {
    "rows of nothing": stream({"a": pa.nulls(1_900_000_000)}),
    "a row too many": stream({"a": np.zeros(MAX_ROWS + 1, np.int8)}),
    "zstd": stream({f"c{i}": np.zeros(5000) for i in range(400)}, "zstd"),
    "lz4": stream({f"c{i}": np.zeros(5000) for i in range(400)}, "lz4"),
    "a compressed dictionary": stream({"a": pa.DictionaryArray.from_arrays(FIRST[:1], ["z" * 9_000_000])}, "zstd"),
    "one text in every row": stream({"a": pa.DictionaryArray.from_arrays(FIRST, [LONG])}),
    "one list in every row": stream({"a": pa.DictionaryArray.from_arrays(FIRST, pa.array([[1] * 100_000]))}),
    "a view of one text": stream({"a": view_of_one_text()}),
    "a run of one text": stream({"a": pa.RunEndEncodedArray.from_arrays(pa.array([9000], pa.int32()), [LONG])}),
    "inside a struct": stream(
        {"a": pa.StructArray.from_arrays([pa.DictionaryArray.from_arrays(FIRST, [LONG])], ["b"])}
    ),
}


@pytest.mark.parametrize("data", HUGE.values(), ids=HUGE)
def test_messages_beyond_the_limit_are_rejected_without_unpacking(data: bytes) -> None:
    assert len(data) <= KAFKA_BYTES
    before = pa.total_allocated_bytes()
    with pytest.raises(UnpackedError, match="a message may hold") as refused:
        open_table(data)
    assert rejection_reason(data, refused.value) is Reason.TOO_LARGE
    assert pa.total_allocated_bytes() - before <= KAFKA_BYTES
    for dead in (decoder().decode(batch(data)).rejected, decode_arrow_labels(batch(data), frozenset({"toy"})).rejected):
        assert [(each.reason, each.value) for each in dead] == [(Reason.TOO_LARGE, data)]


SOUND = {
    "columns": {"a": np.arange(9000.0), "b": ["text"] * 9000},
    "a dictionary of few texts": {"a": pa.array(["red", "blue"] * 4000).dictionary_encode()},
    "a dictionary of many texts": {"a": pa.array([f"{i:0>400}" for i in range(1500)]).dictionary_encode()},
    "a dictionary of numbers": {"a": pa.array(np.arange(9000.0)).dictionary_encode()},
    "many dictionaries": {f"c{i}": pa.array(["red", "blue"] * 500).dictionary_encode() for i in range(9)},
    "a dictionary of nothing": {"a": pa.DictionaryArray.from_arrays(FIRST, pa.array([None], pa.string()))},
    "short views": {"a": pa.array(["qq"] * 9000, pa.string_view())},
    "no rows": {"a": pa.array([], pa.int64())},
    "nothing but nulls": {"a": pa.nulls(MAX_ROWS)},
}


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize("columns", SOUND.values(), ids=SOUND)
def test_messages_within_the_limit_are_read(columns: dict[str, Any], compression: str | None) -> None:
    table = pa.table(columns)
    assert open_table(stream(table, compression)).equals(table)


def test_the_size_of_a_message_is_its_unpacked_size() -> None:
    table = pa.table({"a": np.zeros(5000), "b": ["x" * 90] * 5000})
    assert open_message(stream(table)).n_bytes == len(stream(table))
    for compression in ("zstd", "lz4"):
        assert open_message(stream(table, compression)).n_bytes == pytest.approx(table.nbytes, rel=0.01)
    several = pa.concat_tables([table, table])
    assert open_message(stream(several, "zstd")).n_bytes == pytest.approx(several.nbytes, rel=0.01)


def test_incompressible_bytes_count_with_their_size() -> None:
    noise = np.random.default_rng(1).bytes(80_000)
    assert open_message(stream({"a": [noise]}, "zstd")).n_bytes == pytest.approx(80_000, rel=0.01)


# ---------------------------------------------------------------------------------------------------- decoders


def decoder() -> ArrowDecoder:
    baseline = simple_baseline()
    return ArrowDecoder(build_registry([(simple_contract(), 0)], [RegisteredBaseline(baseline, baseline.id, 0, 0)]))


def test_a_column_that_arrow_cannot_compute_on_costs_one_message_of_labels() -> None:
    good = {"model": ["toy"], "id": ["a"], "label": [1]}
    zone = stream({**good, "at": pa.array([NOW_MS], pa.timestamp("ms", "Moon/Tranquility"))})
    damaged = zone.replace(b"Moon/Tranquility", b"Moon/\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6\xf5")
    assert damaged != zone
    sound = stream({**good, "at": [NOW_MS]})
    decoded = decode_arrow_labels(batch(damaged, sound, damaged), frozenset({"toy"}))
    assert [(dead.reason, dead.offset) for dead in decoded.rejected] == [("not-arrow", 0), ("not-arrow", 2)]
    assert sum(table.num_rows for table in decoded.rows) == 1


def test_many_rejected_rows_of_many_columns_stay_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_decoder, "MAX_SPLIT_BYTES", 1 << 20)
    wide = {f"features.f{i}": pa.nulls(500) for i in range(300)}
    data = stream({"model": ["toy"] * 500, "version": ["1"] * 500, "at": [NOW_MS] * 500, **wide})
    tracemalloc.start()
    dead = decoder().decode(batch(data)).rejected
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [each.index for each in dead] == list(range(500))
    assert {each.reason for each in dead} == {Reason.MISSING_ID}
    retained = [each for each in dead if each.value]
    assert sum(len(each.value) for each in retained) < (1 << 20) + len(retained[0].value) + 1
    assert {each.detail for each in dead if not each.value} == {BYTES_OMITTED}
    assert 0 < len(retained) < 500
    assert peak < 16 << 20


def test_raw_rows_omit_messages_that_are_too_large() -> None:
    baseline = simple_baseline()
    registry = build_registry([(simple_contract(), 0)], [RegisteredBaseline(baseline, baseline.id, 0, 0)])
    sound = stream({"model": ["toy"], "version": ["1"], "id": ["a"], "at": [NOW_MS]})
    [rows] = ArrowRows(registry).rows(batch(HUGE["zstd"], sound, HUGE["one text in every row"]))
    assert rows.num_rows == 1


# ---------------------------------------------------------------------------------------------------- portions


class Sent:
    def __init__(self, content_type: str | None) -> None:
        self._headers = None if content_type is None else [("trace", b"1"), ("content-type", content_type.encode())]

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self._headers


ARROW, JSON, PLAIN = Sent(ARROW_CONTENT_TYPE.decode()), Sent("application/json"), Sent(None)


@pytest.mark.parametrize(
    ("messages", "first"),
    [
        ([], 0),
        ([PLAIN] * 20_000, 20_000),
        ([JSON] * 20_000, 20_000),
        ([ARROW] * MAX_ARROW_MESSAGES, MAX_ARROW_MESSAGES),
        ([ARROW] * (MAX_ARROW_MESSAGES + 1), MAX_ARROW_MESSAGES),
        ([ARROW, PLAIN] * (MAX_ARROW_MESSAGES + 1), 2 * MAX_ARROW_MESSAGES),
    ],
)
def test_many_arrow_messages_are_decoded_in_portions(messages: list[Sent], first: int) -> None:
    assert portion_size(messages) == first


def test_the_limit_exceeds_what_a_publisher_sends() -> None:
    assert MAX_ROWS >= 1000
    assert MAX_UNPACKED_BYTES >= 900_000
