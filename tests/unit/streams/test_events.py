import json
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Contract, Field
from barograph.events import Reason, encode_arrow

from barograph_server.sketches.baseline.columns import TAIL
from barograph_server.streams.broker.assigned_consumer import Membership
from barograph_server.streams.events import arrow_decoder, arrow_message, native_reader
from barograph_server.streams.events.arrow_decoder import BYTES_OMITTED, MAX_PENDING_BYTES, ArrowDecoder
from barograph_server.streams.events.arrow_message import MAX_ROWS, open_message, open_table, rejection_reason
from barograph_server.streams.events.arrow_sizes import shared_bytes
from barograph_server.streams.events.batch import OUT_OF_MEMORY, Decoded, MessageBatch
from barograph_server.streams.events.columns import concat_columns
from barograph_server.streams.events.event_time import parse_time_ms
from barograph_server.streams.events.event_type import is_nameable
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.recorder import arrow_rows, json_rows, labels
from barograph_server.streams.recorder.arrow_rows import ArrowRows
from barograph_server.streams.recorder.arrow_values import to_text
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.recorder.labels import decode_arrow_labels, decode_json_labels
from barograph_server.streams.recorder.rows import position_columns
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher.flush import EndProbe, Flush
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.support import arrow_bombs
from tests.support.arrow_types import all_arrays, write
from tests.support.flatbuffer import Pairs, Table
from tests.support.messages import NOW_MS, batch_of
from tests.support.pipeline import simple_baseline, simple_contract

MODELS = frozenset({"toy"})
BASELINE = simple_baseline(rows=50)
REGISTRY = build_registry([(simple_contract(), 0)], [RegisteredBaseline(BASELINE, BASELINE.id, 0, 0)])
ALL_TYPES = all_arrays()
ROWS = {"model": ["toy"] * 3, "version": ["1"] * 3, "id": ["a", "b", "c"], "at": [NOW_MS] * 3}
SOUND = write(pa.table(ROWS | {"label": [1, 2, 3]}))
SOUND_JSON = b'{"model":"toy","version":"1","id":"a","at":%d,"label":1}' % NOW_MS
FIRST = pa.array(np.zeros(9000, np.int8))
LONG = "y" * 900_000
ONE_TEXT = pa.DictionaryArray.from_arrays(FIRST, [LONG])


def stream(columns: dict[str, Any], compression: str | None = None) -> bytes:
    return write(pa.table(columns), compression)


HUGE = {
    "rows of nothing": stream({"a": pa.nulls(1_900_000_000)}),
    "a row too many": stream({"a": np.zeros(MAX_ROWS + 1, np.int8)}),
    "zstd": stream({f"c{i}": np.zeros(5000) for i in range(400)}, "zstd"),
    "lz4": stream({f"c{i}": np.zeros(5000) for i in range(400)}, "lz4"),
    "a compressed dictionary": stream({"a": pa.DictionaryArray.from_arrays(FIRST[:1], ["z" * 9_000_000])}, "zstd"),
    "one text in every row": stream({"a": ONE_TEXT}),
    "one list in every row": stream({"a": pa.DictionaryArray.from_arrays(FIRST, pa.array([[1] * 100_000]))}),
    "a view of one text": stream({"a": arrow_bombs.views_of_one_text(9000)}),
    "a run of one text": stream({"a": pa.RunEndEncodedArray.from_arrays(pa.array([9000], pa.int32()), [LONG])}),
    "inside a struct": stream({"a": pa.StructArray.from_arrays([ONE_TEXT], ["b"])}),
}


@pytest.mark.parametrize("name", [*HUGE, *arrow_bombs.TOO_LARGE])
def test_messages_beyond_the_limit_are_rejected_without_unpacking(name: str) -> None:
    data = HUGE[name] if name in HUGE else arrow_bombs.TOO_LARGE[name]()
    assert len(data) <= arrow_bombs.KAFKA_BYTES
    before = pa.total_allocated_bytes()
    with pytest.raises(arrow_message.UnpackedError, match="a message may hold") as refused:
        open_message(data)
    assert rejection_reason(data, refused.value) is Reason.TOO_LARGE
    assert pa.total_allocated_bytes() - before <= arrow_bombs.KAFKA_BYTES
    if name in HUGE:
        for read in (ArrowDecoder(REGISTRY).decode(batch_of(data)), decode_arrow_labels(batch_of(data), MODELS)):
            assert [(each.reason, each.value) for each in read.rejected] == [(Reason.TOO_LARGE, data)]


WITHIN = {
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
def test_messages_within_the_limit_are_read(compression: str | None) -> None:
    for name, columns in WITHIN.items():
        table = pa.table(columns)
        assert open_table(write(table, compression)).equals(table), name


def test_the_size_of_a_message_is_its_unpacked_size() -> None:
    table = pa.table({"a": np.zeros(5000), "b": ["x" * 90] * 5000})
    assert open_message(write(table)).n_bytes == len(write(table))
    noise = pa.table({"a": [np.random.default_rng(1).bytes(80_000)]})
    for each, kind in ((table, "zstd"), (table, "lz4"), (pa.concat_tables([table, table]), "zstd"), (noise, "zstd")):
        assert open_message(write(each, kind)).n_bytes == pytest.approx(each.nbytes, rel=0.01)


def test_a_column_that_arrow_cannot_compute_on_costs_one_message_of_labels() -> None:
    good = {"model": ["toy"], "id": ["a"], "label": [1]}
    zone = stream({**good, "at": pa.array([NOW_MS], pa.timestamp("ms", "Moon/Tranquility"))})
    damaged = zone.replace(b"Moon/Tranquility", b"Moon/\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6\xf5")
    assert damaged != zone
    sound = stream({**good, "at": [NOW_MS]})
    decoded = decode_arrow_labels(batch_of(damaged, sound, damaged), MODELS)
    assert [(dead.reason, dead.offset) for dead in decoded.rejected] == [("not-arrow", 0), ("not-arrow", 2)]
    assert sum(table.num_rows for table in decoded.rows) == 1


def test_many_rejected_rows_of_many_columns_stay_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_decoder, "MAX_SPLIT_BYTES", 1 << 20)
    wide = {f"features.f{i}": pa.nulls(500) for i in range(300)}
    data = stream({"model": ["toy"] * 500, "version": ["1"] * 500, "at": [NOW_MS] * 500, **wide})
    tracemalloc.start()
    dead = ArrowDecoder(REGISTRY).decode(batch_of(data)).rejected
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [each.index for each in dead] == list(range(500))
    assert {each.reason for each in dead} == {Reason.MISSING_ID}
    retained = [each for each in dead if each.value]
    assert sum(len(each.value) for each in retained) < (1 << 20) + len(retained[0].value) + 1
    assert {each.detail for each in dead if not each.value} == {BYTES_OMITTED}
    assert 0 < len(retained) < 500
    assert peak < 16 << 20


def test_negative_sizes_do_not_hide_others() -> None:
    fields = [arrow_bombs.field(b"features.x", arrow_bombs.NULL, Table({}))]
    for nodes, buffers in (([(2**40, 0), (-(2**40), 0)], []), ([(1, 0)], [(0, -1)])):
        record_batch = Table({0: ("q", 1), 1: Pairs(nodes), 2: Pairs(buffers)})
        data = arrow_bombs.encapsulate(1, arrow_bombs.schema(fields)) + arrow_bombs.encapsulate(3, record_batch)
        with pytest.raises(ValueError, match="negative"):
            open_message(data)


def test_a_damaged_byte_anywhere_is_an_error_with_a_reason() -> None:
    data = stream({"a": pa.array(["red", "blue"]).dictionary_encode()})
    problems: dict[str, Reason] = {}
    for position in range(len(data)):
        for byte in (b"\x7f", b"\xff"):
            damaged = data[:position] + byte + data[position + 1 :]
            try:
                assert open_message(damaged).n_bytes >= len(data)
            except ValueError as error:
                problems[str(error)] = rejection_reason(damaged, error)
    assert set(problems.values()) == {Reason.NOT_ARROW, Reason.TOO_LARGE}
    assert max(map(len, problems)) <= arrow_message.DETAIL_CHARS
    beyond = {text: reason for text, reason in problems.items() if text.startswith("unpack_from requires a buffer")}
    assert len(beyond) > 10, "positions outside of the message"
    assert set(beyond.values()) == {Reason.NOT_ARROW}


def test_schemas_that_are_cached_are_bounded() -> None:
    for i in range(80):
        open_message(write(pa.table({f"features.f{i}.{j}": pa.nulls(1) for j in range(500)})))
    assert sum(each.n_bytes for each in arrow_message._cache) <= arrow_message.KNOWN_SCHEMA_BYTES


def expanded_bytes(value: Any) -> int:
    if isinstance(value, dict):
        return 8 + sum(map(expanded_bytes, value.values()))
    if isinstance(value, list | tuple):
        return 8 + sum(map(expanded_bytes, value))
    return 8 + (len(value) if isinstance(value, str) else 0)


SHARED = [name for name in ALL_TYPES if name.endswith(" of string")]


def test_sizes_of_shared_values_are_those_of_the_values() -> None:
    for name in SHARED:
        array = ALL_TYPES[name]
        (column,) = next(iter(pa.ipc.open_stream(write(pa.table({"a": array}))))).columns
        expanded = sum(map(expanded_bytes, array.to_pylist()))
        assert shared_bytes([column]) >= expanded - 8 * len(array) * (1 + name.count(" of ")), name
        assert shared_bytes([column]) <= 3 * expanded + 300, name


@pytest.mark.parametrize("part", [0, pytest.param(None, marks=pytest.mark.long)], ids=["sample", "all"])
def test_columns_of_all_types_are_recorded_or_rejected(part: int | None) -> None:
    decoder, rows = ArrowDecoder(REGISTRY), ArrowRows(REGISTRY)
    names = ["class", "score", "scores.a", "metrics.m", "context.region"]
    names += ["features.k", "features.flag", "features.more"]
    plain = [kind for kind in ALL_TYPES if " of " not in kind]
    nested = [kind for kind in ALL_TYPES if " of " in kind]
    for kind in (*plain, *(nested if part is None else nested[part::8])):
        array = ALL_TYPES[kind]
        table = pa.table(ROWS | dict.fromkeys(names, array))
        rejected = table.set_column(2, "id", pa.array(["a", None, "c"]))
        values = batch_of(write(table), write(table), write(rejected))
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
        counted = decoder.decode(batch_of(value))
        n = sum(map(len, counted.events))
        assert n + len(counted.rejected) == 3 or len(counted.rejected) == 1, kind
        assert sum(map(len, rows.rows(batch_of(value)))) == n, kind
        decoded = decode_arrow_labels(batch_of(value), MODELS)
        assert sum(map(len, decoded.rows)) + len(decoded.rejected) == 3 or len(decoded.rejected) == 1, kind


def fail(*_: Any, **__: Any) -> Any:
    raise MemoryError


def fail_first(function: Any, marker: Any) -> Any:
    def failing(*arguments: Any, **more: Any) -> Any:
        if marker(*arguments):
            raise MemoryError
        return function(*arguments, **more)

    return failing


def test_a_message_too_large_or_without_memory_to_open_it_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    [rows] = ArrowRows(REGISTRY).rows(batch_of(HUGE["zstd"], SOUND, HUGE["one text in every row"]))
    assert rows.num_rows == 3, "raw rows omit the others"
    monkeypatch.setattr(arrow_message, "read_claims", fail)
    for dead in (ArrowDecoder(REGISTRY).decode(batch_of(SOUND)), decode_arrow_labels(batch_of(SOUND), MODELS)):
        assert [(each.reason, each.detail) for each in dead.rejected] == [("too-large", OUT_OF_MEMORY)]


def test_a_message_without_memory_to_decode_it_is_a_dead_letter_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    large = arrow_bombs.message(pa.array([1.0] * 7))
    decoder = ArrowDecoder(REGISTRY)

    def has_seven(_: Any, __: Any, messages: list[Any], ___: Any) -> bool:
        return any(each.n_rows == 7 for each in messages)

    monkeypatch.setattr(decoder, "_decode_rows", fail_first(decoder._decode_rows, has_seven))
    decoded = decoder.decode(batch_of(SOUND, large, SOUND))
    assert [(each.reason, each.offset) for each in decoded.rejected] == [("too-large", 1)]
    assert sum(map(len, decoded.events)) == 6
    original = labels._decode_table
    monkeypatch.setattr(labels, "_decode_table", fail_first(original, lambda _, i, *__: i == 1))
    result = decode_arrow_labels(batch_of(SOUND, SOUND, SOUND), MODELS)
    assert [(each.reason, each.offset) for each in result.rejected] == [("too-large", 1)]
    assert sum(map(len, result.rows)) == 6


def test_json_without_memory_to_decode_it_is_a_dead_letter_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = JsonDecoder(REGISTRY)
    one, original = b"[1]", decoder._decode_one
    monkeypatch.setattr(decoder, "_decode_one", fail_first(original, lambda value: value == one))
    decoded = decoder.decode(batch_of(SOUND_JSON, one, SOUND_JSON))
    assert [(each.reason, each.offset, each.detail) for each in decoded.rejected] == [("too-large", 1, OUT_OF_MEMORY)]
    assert sum(map(len, decoded.events)) == 2
    monkeypatch.setattr(labels, "_read", fail_first(labels._read, lambda value, _: value == one))
    result = decode_json_labels(batch_of(SOUND_JSON, one), MODELS)
    assert [(each.reason, each.offset) for each in result.rejected] == [("too-large", 1)]
    assert sum(map(len, result.rows)) == 1


def test_a_message_without_memory_for_its_raw_rows_is_omitted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from_arrow, from_json = ArrowRows(REGISTRY), JsonRows(REGISTRY)
    large = arrow_bombs.message(pa.array([1.0] * 7))
    monkeypatch.setattr(arrow_rows, "to_text", fail_first(to_text, lambda ids: len(ids) >= 7))
    assert sum(map(len, from_arrow.rows(batch_of(SOUND, large, SOUND, SOUND)))) == 9
    assert from_arrow.omitted == [1]
    limited = fail_first(position_columns, lambda own, _: 1 in own.offset)
    monkeypatch.setattr(json_rows, "position_columns", limited)
    rows = from_json.rows(batch_of(SOUND_JSON, SOUND_JSON, SOUND_JSON))
    assert [each for part in rows for each in part.column("offset").to_pylist()] == [0, 2]
    assert from_json.omitted == [1]


def test_messages_that_unpack_to_much_are_decoded_in_portions() -> None:
    column = arrow_bombs.in_one_list(pa.array(np.zeros(arrow_message.MAX_UNPACKED_BYTES // 9)))
    values = batch_of(*[arrow_bombs.message(column, "zstd", names=["features.k"])] * 9)
    accumulator = ArrowDecoder(REGISTRY).accumulator()
    accumulator.add(values)
    assert accumulator._pending_bytes < MAX_PENDING_BYTES
    assert accumulator.n_bytes > MAX_PENDING_BYTES
    [*events] = accumulator.take().events
    assert [int(each) for part in events for each in part.offset] == list(range(9))


NAMES = ["plain", 'with "quotes"', "back\\slash", "日本", "a.b", "$x{}", "m0"]
ODD_NAMES = ["simple", 'a "quoted" \\ model', "模型"]


def registry(model: str, *names: str) -> Registry:
    watched = tuple(Field(name=name, type="float", source=f"features.{name}") for name in names)
    return build_registry([(Contract(model=model, fields=watched), 0)], [])


def batch(*events: dict[str, object]) -> MessageBatch:
    return batch_of(*[json.dumps(named_event).encode() for named_event in events])


def named_event(model: str, **features: float | str) -> dict[str, object]:
    return {"model": model, "version": "1", "id": "a", "at": NOW_MS, "features": features}


@pytest.mark.parametrize("model", ODD_NAMES)
def test_names_of_any_characters_are_decoded(model: str) -> None:
    for name in NAMES:
        known = registry(model, name, "other")
        sent = batch(named_event(model, **{name: 1.5, "other": 2}), named_event(model, **{name: "x"}))
        decoded = JsonDecoder(known).decode(sent)
        assert decoded.rejected == [], name
        (columns,) = decoded.events
        assert columns.numbers[f"features.{name}"].tolist() == [1.5, np.inf], name
        np.testing.assert_array_equal(columns.numbers["features.other"], [2.0, np.nan], name)
        (rows,) = JsonRows(known).rows(batch(named_event(model, **{name: 1.5})))
        assert rows.column("numbers").to_pylist() == [[(name, 1.5)]], name
    assert [is_nameable(name) for name in NAMES] == [True, False, False, True, True, True, True]
    assert not is_nameable("a\nb")


def test_a_class_may_be_larger_than_any_float() -> None:
    contract = Contract(model="toy", fields=(Field(name="class", type="category", source="class"),))
    event = named_event("toy") | {"class": 10**400}
    (events,) = JsonDecoder(build_registry([(contract, 0)], [])).decode(batch(event)).events
    assert events.texts["class"].to_pylist() == [str(10**400)]


def test_fields_of_baselines_are_read_even_if_the_contract_lacks_them() -> None:
    whole, baseline = simple_contract(), simple_baseline()
    fewer = msgspec.structs.replace(whole, fields=whole.fields[:1])
    sent = batch(named_event("toy", x=0.5, k=3, flag=True, colour="green"))
    counts = []
    for contract in (whole, fewer):
        registry = build_registry([(contract, 0)], [RegisteredBaseline(baseline, baseline.id, 0, 0)])
        summaries = FlushSummaries(registry)
        for events in JsonDecoder(registry).decode(sent).events:
            summaries.add(events)
        (pane,) = summaries.panes.values()
        counts.append(pane.counts)
        layout = pane.layout
    assert (counts[0] == counts[1]).all()
    ends = layout.starts + layout.n_cells
    assert counts[1][0, ends - 1].sum() == 0, "nothing is null"
    assert sum(counts[1][0, end : end + TAIL].sum() for end in ends.tolist()) == 0, "nothing is invalid"


NOON_MS = round(datetime.fromisoformat("2026-03-01T12:00:00+00:00").timestamp() * 1000)


def test_valid_times() -> None:
    for value, ms in (
        (NOON_MS, NOON_MS),
        (float(NOON_MS), NOON_MS),
        (0, 0),
        (-1, -1),
        ("2026-03-01T12:00:00Z", NOON_MS),
        ("2026-03-01T12:00:00.250Z", NOON_MS + 250),
        ("2026-03-01T14:30:00+02:30", NOON_MS),
        ("2026-03-01T12:00:00.0006+00:00", NOON_MS + 1),
    ):
        assert parse_time_ms(value) == ms


def test_invalid_times() -> None:
    numbers = (None, True, 1.5, float("nan"), float("inf"), 1e30, 2**63, -(2**63) - 1, [NOON_MS])
    texts = ("", "yesterday", "2026-03-01", "2026-03-01T12:00:00", "2026-13-01T12:00:00Z", str(NOON_MS))
    for value in (*numbers, *texts):
        assert parse_time_ms(value) is None, value


ONE_FIELD = registry("m", "x")
ROLES = [None, "primary", "shadow", None, "shadow"]
Encode = Callable[[Sequence[Any]], MessageBatch]


def event_with_role(i: int, role: Any) -> dict[str, Any]:
    plain = {"model": "m", "version": "1", "id": f"e{i}", "at": NOW_MS, "producer": "p", "seq": i}
    return plain | {"features.x": float(i), "role": role}


def as_json(roles: Sequence[Any]) -> MessageBatch:
    events = [event_with_role(i, role) for i, role in enumerate(roles)]
    for each in events:
        each["features"] = {"x": each.pop("features.x")}
    return batch_of(*[json.dumps({k: v for k, v in each.items() if v is not None}).encode() for each in events])


def as_broken_json(roles: Sequence[Any]) -> MessageBatch:
    """Encode the events together with one that does not fit the format, so that all are decoded one by one."""
    good = as_json(roles)
    return batch_of(*good.values, b'{"model": "m", "version": "1", "id": "e9", "at": "never"}')


def as_arrow(roles: Sequence[Any]) -> MessageBatch:
    return batch_of(encode_arrow(pa.Table.from_pylist([event_with_role(i, role) for i, role in enumerate(roles)])))


ENCODINGS = pytest.mark.parametrize("encode", [as_json, as_broken_json, as_arrow])


def decode(encode: Encode, roles: Sequence[Any]) -> Decoded:
    return (ArrowDecoder if encode is as_arrow else JsonDecoder)(ONE_FIELD).decode(encode(roles))


@ENCODINGS
def test_shadows_are_marked_and_can_be_left_out(encode: Encode) -> None:
    (columns,) = decode(encode, ROLES).events
    assert columns.shadow is not None
    assert columns.shadow.tolist() == [False, False, True, False, True]
    assert columns.without_shadows().numbers["features.x"].tolist() == [0.0, 1.0, 3.0]
    (primaries,) = decode(encode, [None, "primary"]).events
    assert primaries.shadow is None
    assert primaries.without_shadows() is primaries
    joined: Any = concat_columns([primaries, columns]).shadow
    assert joined.tolist() == [False, False, False, False, True, False, True]


@ENCODINGS
@pytest.mark.parametrize("role", ["canary", "", "Shadow", 1])
def test_another_role_is_a_dead_letter_and_its_neighbors_are_events(encode: Encode, role: Any) -> None:
    roles = [role] if encode is as_arrow and role == 1 else ["shadow", role]
    decoded = decode(encode, roles)
    assert [len(columns) for columns in decoded.events] == [1] * (len(roles) - 1)
    assert [each.reason for each in decoded.rejected if each.reason is not Reason.BAD_TIME] == [Reason.WRONG_TYPE]


@ENCODINGS
def test_only_the_arrival_of_a_shadow_is_counted(encode: Encode) -> None:
    ends = EndProbe(lambda _: None, clock=lambda: NOW_MS / 1000)
    flush = Flush(Membership(None, 1), {0: 0}, FlushSummaries(ONE_FIELD), ends)
    flush.add(decode(encode, ROLES), arrivals_counted=False)
    assert flush.events == flush.summaries.unwatched == 3
    tallies = flush.summaries.tallies.tallies("predictions", "id", [], flush.rejected)
    assert sum(each.n for tally in tallies for each in tally.producers) == len(ROLES)


@pytest.mark.parametrize("native", [True, False])
def test_the_decoder_says_what_read_its_messages(native: bool) -> None:
    decoder = JsonDecoder(REGISTRY, native=native)
    decoder.decode(batch_of(SOUND_JSON, b"{", SOUND_JSON))
    is_native = native and native_reader.VERSION is not None
    assert +decoder.read_by == ({"native": 2, "python": 1} if is_native else {"python": 3})
    description = native_reader.describe(requested=native)
    assert description.startswith("barograph-native " if is_native else "pure Python (")


def test_an_abandoned_batch_leaves_nothing_to_the_next() -> None:
    decoder = JsonDecoder(REGISTRY)
    decoder.accumulator().add(batch_of(SOUND_JSON))
    assert not decoder.accumulator().take().events
    (events,) = decoder.decode(batch_of(SOUND_JSON)).events
    assert len(events) == 1
