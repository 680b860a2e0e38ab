"""Messages that unpack to far more than their size are counted first, and decoded within the stated memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph.events import Reason

from streams.events import arrow_message
from streams.events.arrow_decoder import MAX_PENDING_BYTES, ArrowDecoder
from streams.events.arrow_message import MAX_UNPACKED_BYTES, UnpackedError, open_message, rejection_reason
from streams.events.arrow_sizes import shared_bytes
from streams.events.batch import OUT_OF_MEMORY, MessageBatch
from streams.events.json_decoder import JsonDecoder
from streams.recorder import arrow_rows, json_rows, labels
from streams.recorder.arrow_rows import ArrowRows
from streams.recorder.json_rows import JsonRows
from streams.recorder.labels import decode_arrow_labels, decode_json_labels
from streams.registry.registry import RegisteredBaseline, build_registry
from tests.support.arrow_bombs import (
    KAFKA_BYTES,
    NOW_MS,
    NULL,
    TOO_LARGE,
    encapsulate,
    field,
    in_one_list,
    message,
    schema,
)
from tests.support.arrow_types import all_arrays, write
from tests.support.flatbuffer import Pairs, Table
from tests.support.pipeline import simple_baseline, simple_contract

MODELS = frozenset({"toy"})
BASELINE = simple_baseline(rows=50)
REGISTRY = build_registry([(simple_contract(), 0)], [RegisteredBaseline(BASELINE, BASELINE.id, 0, 0)])
ALL_TYPES = all_arrays()
ROWS = {"model": ["toy"] * 3, "version": ["1"] * 3, "id": ["a", "b", "c"], "at": [NOW_MS] * 3}
SOUND = write(pa.table(ROWS | {"label": [1, 2, 3]}))
SOUND_JSON = b'{"model":"toy","version":"1","id":"a","at":%d,"label":1}' % NOW_MS


def batch(*values: bytes) -> MessageBatch:
    n = len(values)
    return MessageBatch(list(values), np.zeros(n, np.int32), np.arange(n), np.full(n, NOW_MS))


@pytest.mark.parametrize("build", TOO_LARGE.values(), ids=TOO_LARGE)
def test_what_nested_and_shared_values_unpack_to_counts(build: Callable[[], bytes]) -> None:
    data = build()
    assert len(data) <= KAFKA_BYTES
    before = pa.total_allocated_bytes()
    with pytest.raises(UnpackedError, match="a message may hold") as refused:
        open_message(data)
    assert rejection_reason(data, refused.value) is Reason.TOO_LARGE
    assert pa.total_allocated_bytes() - before <= KAFKA_BYTES


def test_negative_sizes_do_not_hide_others() -> None:
    fields = [field(b"features.x", NULL, Table({}))]
    for nodes, buffers in (([(2**40, 0), (-(2**40), 0)], []), ([(1, 0)], [(0, -1)])):
        record_batch = Table({0: ("q", 1), 1: Pairs(nodes), 2: Pairs(buffers)})
        data = encapsulate(1, schema(fields)) + encapsulate(3, record_batch)
        with pytest.raises(ValueError, match="negative"):
            open_message(data)


def test_schemas_that_are_cached_are_bounded() -> None:
    for i in range(200):
        open_message(write(pa.table({f"features.f{i}.{j}": pa.nulls(1) for j in range(500)})))
    assert sum(each.n_bytes for each in arrow_message._cache) <= arrow_message.KNOWN_SCHEMA_BYTES


# ------------------------------------------------------------------------------------------------------- all types


def expanded_bytes(value: Any) -> int:
    """Return the size of a Python value, at least eight bytes for each."""
    if isinstance(value, dict):
        return 8 + sum(map(expanded_bytes, value.values()))
    if isinstance(value, list | tuple):
        return 8 + sum(map(expanded_bytes, value))
    return 8 + (len(value) if isinstance(value, str) else 0)


SHARED = [name for name in ALL_TYPES if name.endswith(" of string")]


@pytest.mark.parametrize("name", SHARED)
def test_sizes_of_shared_values_are_those_of_the_values(name: str) -> None:
    array = ALL_TYPES[name]
    (column,) = next(iter(pa.ipc.open_stream(write(pa.table({"a": array}))))).columns
    assert shared_bytes([column]) >= sum(map(expanded_bytes, array.to_pylist())) - 8 * len(array) * (
        1 + name.count(" of ")
    )
    assert shared_bytes([column]) <= 3 * sum(map(expanded_bytes, array.to_pylist())) + 300


def test_columns_of_all_types_are_recorded_or_rejected() -> None:
    decoder, rows = ArrowDecoder(REGISTRY), ArrowRows(REGISTRY)
    names = (
        "class",
        "score",
        "scores.a",
        "metrics.m",
        "context.region",
        "features.k",
        "features.flag",
        "features.more",
    )
    for kind, array in ALL_TYPES.items():
        table = pa.table(ROWS | dict.fromkeys(names, array))
        rejected = table.set_column(2, "id", pa.array(["a", None, "c"]))
        values = batch(write(table), write(table), write(rejected))
        counted = decoder.decode(values)
        n = sum(map(len, counted.events))
        # Arrow selects no rows of some types: then the message with the rejected row is rejected as a whole.
        assert n == 8 or " of " in kind or kind == "binary_view", kind
        assert n in (0, 6, 8), kind
        assert len(counted.rejected) == (1 if n else 3), kind
        assert sum(map(len, rows.rows(values))) == n, kind
        assert not rows.omitted, kind


@pytest.mark.parametrize("name", ["model", "version", "id", "at", "error", "producer", "seq", "label"])
def test_members_of_all_types_are_counted_or_rejected(name: str) -> None:
    decoder, rows = ArrowDecoder(REGISTRY), ArrowRows(REGISTRY)
    for kind, array in ALL_TYPES.items():
        if " of " in kind and not kind.endswith((" of null", " of string")):
            continue
        value = write(pa.table(ROWS | {"label": [1, 2, 3]} | {name: array}))
        counted = decoder.decode(batch(value))
        n = sum(map(len, counted.events))
        assert n + len(counted.rejected) == 3 or len(counted.rejected) == 1, kind
        assert sum(map(len, rows.rows(batch(value)))) == n, kind
        decoded = decode_arrow_labels(batch(value), MODELS)
        assert sum(map(len, decoded.rows)) + len(decoded.rejected) == 3 or len(decoded.rejected) == 1, kind


# -------------------------------------------------------------------------------------------------- out of memory


def fail(*_: Any, **__: Any) -> Any:
    raise MemoryError


def fail_first(function: Any, marker: Any) -> Any:
    def failing(*arguments: Any, **more: Any) -> Any:
        if marker(*arguments):
            raise MemoryError
        return function(*arguments, **more)

    return failing


def test_a_message_without_memory_to_open_it_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_message, "read_claims", fail)
    for dead in (ArrowDecoder(REGISTRY).decode(batch(SOUND)), decode_arrow_labels(batch(SOUND), MODELS)):
        assert [(each.reason, each.detail) for each in dead.rejected] == [("too-large", OUT_OF_MEMORY)]


def test_a_message_without_memory_to_decode_it_is_a_dead_letter_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    large = message(pa.array([1.0] * 7))
    decoder = ArrowDecoder(REGISTRY)

    def has_seven(_: Any, __: Any, messages: list[Any], ___: Any) -> bool:
        return any(each.n_rows == 7 for each in messages)

    monkeypatch.setattr(decoder, "_decode_rows", fail_first(decoder._decode_rows, has_seven))
    decoded = decoder.decode(batch(SOUND, large, SOUND))
    assert [(each.reason, each.offset) for each in decoded.rejected] == [("too-large", 1)]
    assert sum(map(len, decoded.events)) == 6
    original = labels._decode_table
    monkeypatch.setattr(labels, "_decode_table", fail_first(original, lambda _, i, *__: i == 1))
    result = decode_arrow_labels(batch(SOUND, SOUND, SOUND), MODELS)
    assert [(each.reason, each.offset) for each in result.rejected] == [("too-large", 1)]
    assert sum(map(len, result.rows)) == 6


def test_json_without_memory_to_decode_it_is_a_dead_letter_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = JsonDecoder(REGISTRY)
    one, original = b"[1]", decoder._decode_one
    monkeypatch.setattr(decoder, "_decode_one", fail_first(original, lambda value: value == one))
    decoded = decoder.decode(batch(SOUND_JSON, one, SOUND_JSON))
    assert [(each.reason, each.offset, each.detail) for each in decoded.rejected] == [("too-large", 1, OUT_OF_MEMORY)]
    assert sum(map(len, decoded.events)) == 2
    monkeypatch.setattr(labels, "_read", fail_first(labels._read, lambda value, _: value == one))
    result = decode_json_labels(batch(SOUND_JSON, one), MODELS)
    assert [(each.reason, each.offset) for each in result.rejected] == [("too-large", 1)]
    assert sum(map(len, result.rows)) == 1


def test_a_message_without_memory_for_its_raw_rows_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ArrowRows(REGISTRY)
    large = message(pa.array([1.0] * 7))
    original = arrow_rows._member_columns
    monkeypatch.setattr(arrow_rows, "_member_columns", fail_first(original, lambda _, each: len(each) >= 7))
    assert sum(map(len, rows.rows(batch(SOUND, large, SOUND, SOUND)))) == 9
    assert rows.omitted == [1]
    from_json = JsonRows(REGISTRY)
    monkeypatch.setattr(json_rows, "_rows", fail_first(json_rows._rows, lambda _, __, each, *___: 1 in each.offset))
    assert sum(map(len, from_json.rows(batch(SOUND_JSON, SOUND_JSON, SOUND_JSON)))) == 2
    assert from_json.omitted == [1]


# ------------------------------------------------------------------------------------------------------- portions


def test_messages_that_unpack_to_much_are_decoded_in_portions() -> None:
    column = in_one_list(pa.array(np.zeros(MAX_UNPACKED_BYTES // 9)))
    values = batch(*[message(column, "zstd", names=["features.k"])] * 9)
    accumulator = ArrowDecoder(REGISTRY).accumulator()
    accumulator.add(values)
    assert accumulator._pending_bytes < MAX_PENDING_BYTES
    assert accumulator.n_bytes > MAX_PENDING_BYTES
    [*events] = accumulator.take().events
    assert [int(each) for part in events for each in part.offset] == list(range(9))
