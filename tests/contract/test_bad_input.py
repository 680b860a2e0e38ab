import dataclasses
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph import Contract, Publisher, Reason, Validator
from barograph.contract import Field, FieldType, Slice
from barograph.events import encode_arrow
from barograph.publisher.pii import FieldHash

from barograph_server.sketches.baseline.baseline import SliceValues
from barograph_server.sketches.baseline.columns import FieldColumn
from barograph_server.sketches.sketch.categorical import UnseenCategories
from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.arrow_message import MAX_ROWS, MAX_UNPACKED_BYTES, open_message
from barograph_server.streams.events.batch import Decoded, MessageBatch
from barograph_server.streams.events.columns import INVALID_TEXT
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.recorder.arrow_rows import ArrowRows
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.recorder.labels import decode_arrow_labels, decode_json_labels
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.support.baselines import baseline, category
from tests.support.scripted_kafka import RecordingProducer

DOCS = (Path(__file__).parents[2] / "docs" / "events.md").read_text("utf-8")
NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
REGISTRY = Registry(
    contracts={
        "another": Contract(model="another"),
        "m": Contract(
            model="m",
            fields=(
                Field(name="x", type="float", source="features.x"),
                Field(name="c", type="category", source="features.c"),
                Field(name="h", type="category", source="features.h", pii="hash"),
                Field(name="tokens", type="int", source="metrics.tokens"),
            ),
        ),
    }
)
GOOD: dict[str, Any] = {"model": "m", "version": "1", "id": "a", "at": NOW_MS, "features": {"x": 1.5, "c": "red"}}
NO_OBJECT = "`features`, `context` or `metrics` that the contract reads and that is not an object"
PLAIN = "a value of a field with `pii: hash` that is not a hash"
COUNTED, NULL, INVALID_X, INVALID_C, INVALID_H = "counted", "null", "invalid x", "invalid c", "invalid h"


def event(**members: Any) -> bytes:
    return json.dumps({**GOOD, **members}).encode()


def without(member: str) -> bytes:
    return json.dumps({name: value for name, value in GOOD.items() if name != member}).encode()


def with_x(text: str) -> bytes:
    return json.dumps({**GOOD, "features": {"x": "X", "c": "red"}}).replace('"X"', text).encode()


CASES: list[tuple[str, bytes | None, str]] = [
    ("no value or no bytes, and no end marker", None, Reason.EMPTY),
    ("no value or no bytes, and no end marker", b"", Reason.EMPTY),
    ("not JSON, or cut off", b"hello", Reason.NOT_JSON),
    ("not JSON, or cut off", event()[:-1], Reason.NOT_JSON),
    ("not JSON, or cut off", event() + b"{}", Reason.NOT_JSON),
    ("bytes that are not UTF-8", event(id="@").replace(b"@", b"\xff"), Reason.NOT_JSON),
    ("a list, a text, a number or null instead of an object", b"[" + event() + b"]", Reason.NOT_AN_OBJECT),
    ("a list, a text, a number or null instead of an object", b'"text"', Reason.NOT_AN_OBJECT),
    ("a list, a text, a number or null instead of an object", b"null", Reason.NOT_AN_OBJECT),
    ("nested deeper than a reader's stack allows", b"[" * 100_000 + b"]" * 100_000, Reason.TOO_DEEP),
    ("`model` missing, null or empty", without("model"), Reason.MISSING_MODEL),
    ("`model` missing, null or empty", event(model=""), Reason.MISSING_MODEL),
    ("a `model` without contract", event(model="other"), Reason.UNKNOWN_MODEL),
    ("a `model` without contract", event(model=7), Reason.UNKNOWN_MODEL),
    ("`version` missing, null or empty", without("version"), Reason.MISSING_VERSION),
    ("an unknown `version` of a known model", event(version="none such"), COUNTED),
    ("`id` missing, null or empty", without("id"), Reason.MISSING_ID),
    ("`id` missing, null or empty", event(id=""), Reason.MISSING_ID),
    ("`version` or `id` that is not text", event(version=3), Reason.WRONG_TYPE),
    ("`version` or `id` that is not text", event(id=["a"]), Reason.WRONG_TYPE),
    (NO_OBJECT, event(features=[1]), Reason.WRONG_TYPE),
    ("`at` missing or null", without("at"), Reason.MISSING_TIME),
    ("`at` that is not a time, or has no offset", event(at="yesterday"), Reason.BAD_TIME),
    ("`at` that is not a time, or has no offset", event(at="2023-11-14T22:13:20"), Reason.BAD_TIME),
    ("`at` that is not a time, or has no offset", event(at=10**30), Reason.BAD_TIME),
    ("`at` a year ahead, or more than 5 minutes ahead", event(at=NOW_MS + 365 * DAY_MS), Reason.FUTURE_TIME),
    ("`at` a year ahead, or more than 5 minutes ahead", event(at=NOW_MS + 300_001), Reason.FUTURE_TIME),
    ("`at` longer ago than panes are kept (400 days", event(at=NOW_MS - 400 * DAY_MS - 1), Reason.TOO_OLD),
    ("a number as text", with_x('"71.6"'), INVALID_X),
    ("`NaN` and infinities, bare or as text", with_x("NaN"), INVALID_X),
    ("a number, flag, list or map in a field that is a category", event(features={"c": 7}), INVALID_C),
    (PLAIN, event(features={"x": 1.5, "h": "ann@example.com"}), INVALID_H),
    (PLAIN, event(features={"x": 1.5, "h": 4930123456}), INVALID_H),
    ("a whole number too large for a float", with_x("1" + "0" * 400), INVALID_X),
    ("a list or map in a numeric field", with_x("[1]"), INVALID_X),
    ("null, or the member is missing", with_x("null"), NULL),
    ("null, or the member is missing", without("features"), NULL),
    ("text of 1 MB", event(features={"x": 1.5, "c": "y" * 1_000_000}), COUNTED),
    ("a map of 10,000 members", event(features={"x": 1.5, **{f"f{i}": i for i in range(10_000)}}), COUNTED),
    ("unknown members", event(later={"a": [1]}), COUNTED),
    ("half of a surrogate pair", event(id="\ud800"), COUNTED),
    ("half of a surrogate pair", event(features={"x": 1.5, "c": "\ud800"}), COUNTED),
]


def batch(values: list[bytes | None]) -> MessageBatch:
    n = len(values)
    return MessageBatch(values, np.zeros(n, np.int32), np.arange(n), np.full(n, NOW_MS))


def outcome_of(line: str) -> str:
    match = re.search(rf"^\| {re.escape(line)}[^|]*\| ([^|]*) \|$", DOCS, re.MULTILINE)
    assert match, f"docs/events.md has no line {line!r}"
    return match[1]


def test_the_documented_outcome_happens() -> None:
    decoder = JsonDecoder(REGISTRY)
    for line, value, expected in CASES:
        where, documented = (line, (value or b"")[:60]), outcome_of(line)
        decoded = decoder.decode(batch([event(), value, event()]))
        n = sum(map(len, decoded.events)) + len(decoded.rejected)
        assert n == 3, (where, "every message is counted or dead-lettered")
        if expected in set(Reason):
            assert documented == f"dead letter `{expected}`", where
            rejected = [(dead.reason, dead.offset, dead.value) for dead in decoded.rejected]
            assert rejected == [(expected, 1, value or b"")], where
        else:
            assert documented.startswith("counted"), where
            assert decoded.rejected == [], where
            assert _state(decoded) == expected, where
            stated = "invalid" in documented, "is null" in documented
            assert stated == ("invalid" in expected, expected == NULL), where


@pytest.mark.parametrize(("age_days", "is_accepted"), [(999, True), (1001, False)])
def test_the_setting_of_the_retention_decides_about_old_events(age_days: int, is_accepted: bool) -> None:
    registry = dataclasses.replace(REGISTRY, retention_ms=1000 * DAY_MS)
    at = NOW_MS - age_days * DAY_MS
    rows = encode_arrow(pa.table({name: [{**GOOD, "at": at}[name]] for name in ("model", "version", "id", "at")}))
    label = {"model": GOOD["model"], "id": "a", "label": True, "at": at}
    label_rows = encode_arrow(pa.table({name: [value] for name, value in label.items()}))
    models = frozenset(registry.contracts)
    rejected = [
        JsonDecoder(registry).decode(batch([event(at=at)])).rejected,
        ArrowDecoder(registry).decode(batch([rows])).rejected,
        decode_json_labels(batch([json.dumps(label).encode()]), models, registry.retention_ms).rejected,
        decode_arrow_labels(batch([label_rows]), models, registry.retention_ms).rejected,
    ]
    assert [[dead.reason for dead in each] for each in rejected] == [[] if is_accepted else [Reason.TOO_OLD]] * 4
    raw = JsonRows(registry).rows(batch([event(at=at)])), ArrowRows(registry).rows(batch([rows]))
    assert [sum(map(len, tables)) for tables in raw] == [is_accepted] * 2


def _state(decoded: Decoded) -> str:
    (events,) = decoded.events
    for name, state in (("h", INVALID_H), ("c", INVALID_C)):
        if events.texts[f"features.{name}"][1].as_py() == INVALID_TEXT:
            return state
    x = events.numbers["features.x"][1]
    return INVALID_X if np.isinf(x) else NULL if np.isnan(x) else COUNTED


def test_an_arrow_message_that_is_invalid_or_too_large_is_dead_lettered_as_a_whole() -> None:
    good = encode_arrow(pa.table({name: [GOOD[name]] for name in ("model", "version", "id", "at")}))
    decoded = ArrowDecoder(REGISTRY).decode(batch([good, b"no arrow", good[: len(good) // 2], b""]))
    for line in ("Arrow by its header, but not an Arrow stream", "damaged Arrow"):
        assert outcome_of(line) == "dead letter `not-arrow`"
    assert [dead.offset for dead in decoded.rejected] == [1, 2, 3]
    assert [dead.reason for dead in decoded.rejected] == ["not-arrow", "not-arrow", "empty"]
    assert sum(map(len, decoded.events)) == 1
    many = encode_arrow(pa.table({name: [GOOD[name]] * (MAX_ROWS + 1) for name in ("model", "version", "id", "at")}))
    [dead] = ArrowDecoder(REGISTRY).decode(batch([many])).rejected
    larger = f"whose columns unpack to more than {MAX_UNPACKED_BYTES >> 20} MiB"
    documented = outcome_of(f"an Arrow batch of more than {MAX_ROWS:,} rows, or {larger}")
    assert documented == f"dead letter `{dead.reason}`" == "dead letter `too-large`"
    assert dead.value == many


def test_a_bad_row_is_dead_lettered_alone() -> None:
    rows = pa.table({"model": ["m", "m", None], "version": ["1", "1", "1"], "id": ["a", None, "c"], "at": [NOW_MS] * 3})
    decoded = ArrowDecoder(REGISTRY).decode(batch([encode_arrow(rows)]))
    assert outcome_of("an Arrow batch with one bad row").startswith("the row is a dead letter with its reason")
    assert [(dead.reason, dead.index) for dead in decoded.rejected] == [("missing-id", 1), ("missing-model", 2)]
    assert pa.ipc.open_stream(decoded.rejected[0].value).read_all().to_pylist() == rows.slice(1, 1).to_pylist()
    assert sum(map(len, decoded.events)) == 1


def test_every_reason_is_in_the_documentation() -> None:
    assert [reason for reason in Reason if f"`{reason}`" not in DOCS] == []


KEY, NEXT_KEY = b"a key of sixteen bytes", b"another key of sixteen"
CONTRACT = Contract(
    model="m",
    fields=(
        Field(name="x", type="float", source="features.x"),
        Field(name="email", type="category", source="features.email", pii="hash"),
        Field(name="payer", type="category", source="context.payer", pii="hash"),
    ),
    slices=(Slice(name="payer", source="context.payer"),),
)
EMAIL, PAYER = FieldHash(KEY, "m", "features.email"), FieldHash(KEY, "m", "context.payer")
KNOWN = EMAIL("known@example.com")
TEXTS = ("ann@example.com", "Ann", "", KNOWN.upper(), KNOWN[7:], f"{KNOWN}\n", f"{KNOWN[:-1]}é")
PLAIN_VALUES = (*TEXTS, 4930123456, True, ["ann"])
"""Values of a hashed field that are no hash: texts of other lengths and characters, and values of other types."""
SECRETS = ("ann", "4930123456", "é")


BASELINE = baseline(
    category("email", KNOWN),
    category("payer", PAYER("p")),
    dimensions=(SliceValues(name="payer", source="context.payer", values=(PAYER("p"),), trained=False),),
)
HASHED = build_registry([(CONTRACT, 1)], [])


def as_json(emails: list[Any], **members: Any) -> list[bytes | None]:
    event = {"model": "m", "version": "1", "at": NOW_MS, **members}
    inputs = [{"features": {"x": 1.0, "email": email}, "context": {"payer": email}} for email in emails]
    return [json.dumps(event | {"id": f"e{i}"} | each).encode() for i, each in enumerate(inputs)]


def as_table(emails: Any, first: int = 0) -> bytes:
    n = len(emails)
    columns: dict[str, Any] = {"model": ["m"] * n, "version": ["1"] * n, "id": [f"e{first + i}" for i in range(n)]}
    columns |= {"at": [NOW_MS] * n, "features.x": [1.0] * n, "features.email": emails, "context.payer": emails}
    return encode_arrow(pa.table(columns))


ENCODINGS: dict[str, Callable[[list[Any]], list[bytes | None]]] = {
    "contract": as_json,
    # The recorder decodes an unknown member on its open path, a bare NaN on its lenient one.
    "open": lambda emails: as_json(emails, later=1),
    "lenient": lambda emails: as_json(emails, score=float("nan")),
    "arrow": lambda emails: [as_table([email], i) for i, email in enumerate(emails)],
    "dictionary": lambda emails: [as_table(pa.array(emails, pa.string()).dictionary_encode())],
}


def decode(encoding: str, values: list[bytes | None]) -> Decoded:
    decoder = ArrowDecoder(HASHED) if encoding in ("arrow", "dictionary") else JsonDecoder(HASHED)
    return decoder.decode(batch(values))


def record(encoding: str, values: list[bytes | None]) -> list[dict[str, Any]]:
    rows = ArrowRows(HASHED) if encoding in ("arrow", "dictionary") else JsonRows(HASHED)
    return sorted(pa.concat_tables(rows.rows(batch(values))).to_pylist(), key=lambda row: str(row["id"]))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_values_that_are_no_hash_are_invalid_and_stored_nowhere(encoding: str) -> None:
    plain = list(TEXTS if encoding == "dictionary" else PLAIN_VALUES)
    values = ENCODINGS[encoding](plain)
    summaries = FlushSummaries(build_registry([(CONTRACT, 1)], [RegisteredBaseline(BASELINE, "b", 0, 1)]))
    decoded = decode(encoding, values)
    assert decoded.rejected == []
    for events in decoded.events:
        summaries.add(events)
    partials = [data for key, pane in summaries.panes.items() for data in encode_partials(key, pane, "t", [])]
    (pane,) = summaries.panes.values()
    for i, field in enumerate(("email", "payer")):
        counts = pane.counts[0, pane.layout.span(i, i + 1)]
        invalid = counts[pane.layout.fields[i].n_cells + FieldColumn.INVALID]
        assert invalid == counts.sum() == len(plain), field
    assert not any(isinstance(sketch, UnseenCategories) for sketch in pane.sketches)
    rows = record(encoding, values)
    hashed = [(dict(row["strings"])["email"], dict(row["context"])["payer"]) for row in rows]
    assert hashed == [("not-hashed", "not-hashed")] * len(plain)
    stored = json.dumps([{**row, "at": 0, "received_at": 0} for row in rows], ensure_ascii=False)
    for secret in (*SECRETS, KNOWN[7:]):
        assert secret not in stored
        assert all(secret.encode() not in data for data in partials)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_hashes_of_any_key_and_nulls_are_counted_and_stored_unchanged(encoding: str) -> None:
    emails = [KNOWN, None, FieldHash(NEXT_KEY, "m", "features.email")("known@example.com")]
    values = ENCODINGS[encoding](emails)
    events = decode(encoding, values).events
    columns = [(each.offset, each.index, each.texts["features.email"].to_pylist()) for each in events]
    texts = {(offset, index): text for each in columns for offset, index, text in zip(*each, strict=True)}
    assert [texts[position] for position in sorted(texts)] == emails
    assert [dict(row["strings"]).get("email") for row in record(encoding, values)] == emails


PUBLISHED_CONTRACT = Contract(
    model="m",
    fields=(
        Field(name="temp", type="float", source="features.temp"),
        Field(name="seats", type="int", source="features.seats"),
        Field(name="weekend", type="bool", source="features.weekend"),
        Field(name="carrier", type="category", source="features.carrier"),
        Field(name="booked_at", type="timestamp", source="features.booked_at"),
        Field(name="tokens", type="int", source="metrics.tokens"),
        Field(name="score", type="float", source="score"),
        Field(name="class", type="category", source="class"),
    ),
    slices=(Slice(name="origin", source="context.origin"), Slice(name="arm", source="arm")),
)
PUBLISHED_REGISTRY = Registry(contracts={"m": PUBLISHED_CONTRACT})
BOOKED = datetime(2023, 11, 1, tzinfo=UTC)
COLUMNS: dict[str, list[Any]] = {
    "id": ["a", "b", "c", "d"],
    "at": [NOW_MS, NOW_MS - 1, NOW_MS - 2, NOW_MS - 3],
    "features.temp": [71.5, None, math.nan, -math.inf],
    "features.seats": [189, None, 0, -1],
    "features.weekend": [True, None, False, False],
    "features.carrier": ["B6", None, "größe", ""],
    "features.booked_at": [BOOKED, None, BOOKED, BOOKED],
    "metrics.tokens": [3, None, 4, 5],
    "score": [0.25, None, math.inf, 1.0],
    "class": ["late", None, "on time", "late"],
    "context.origin": ["JFK", None, "LGA", "EWR"],
    "arm": ["a", None, "b", "a"],
    "error": [None, "TimeoutError", None, None],
}


class PublishedEvents(RecordingProducer):
    def __init__(self) -> None:
        super().__init__()
        self.publisher = Publisher(PUBLISHED_CONTRACT, "3", self.outbox())


@pytest.fixture
def published() -> Iterator[PublishedEvents]:
    events = PublishedEvents()
    yield events
    events.publisher.close(0)


def one_by_one(published: PublishedEvents) -> Decoded:
    for i in range(len(COLUMNS["id"])):
        row = {name: values[i] for name, values in COLUMNS.items()}
        members: dict[str, Any] = {"features": {}, "context": {}, "metrics": {}}
        for name, value in row.items():
            map_name, dot, member = name.partition(".")
            if dot:
                members[map_name][member] = value
            else:
                members["class_" if name == "class" else name] = value
        published.publisher.prediction(**members)
    return JsonDecoder(PUBLISHED_REGISTRY).decode(batch([*published.values]))


def at_once(published: PublishedEvents) -> Decoded:
    assert published.publisher.predictions(pa.table(COLUMNS)) == 4
    return ArrowDecoder(PUBLISHED_REGISTRY).decode(batch([*published.values]))


@pytest.mark.parametrize("publish", [one_by_one, at_once])
def test_every_value_arrives(publish: Any, published: PublishedEvents) -> None:
    decoded = publish(published)
    assert decoded.rejected == []
    (events,) = decoded.events
    nan, invalid = math.nan, math.inf
    booked_ms = BOOKED.timestamp() * 1000
    expected = {
        "features.temp": [71.5, nan, invalid, invalid],
        "features.seats": [189, nan, 0, -1],
        "features.weekend": [1, nan, 0, 0],
        "features.booked_at": [booked_ms, nan, booked_ms, booked_ms],
        "metrics.tokens": [3, nan, 4, 5],
        "score": [0.25, nan, invalid, 1.0],
    }
    assert set(events.numbers) == set(expected)
    for source, values in expected.items():
        np.testing.assert_array_equal(np.abs(events.numbers[source]), np.abs(values), err_msg=source)
    assert {source: column.to_pylist() for source, column in events.texts.items()} == {
        source: COLUMNS[source] for source in ("features.carrier", "class", "context.origin", "arm")
    }
    assert events.at_ms.tolist() == COLUMNS["at"]
    assert events.errors.tolist() == [False, True, False, False]
    assert (events.versions, events.version_code.tolist()) == (("3",), [0, 0, 0, 0])


def test_messages_of_wide_tables_are_within_the_limits_of_the_reader(published: PublishedEvents) -> None:
    """2,000 flags in 1,000 rows take 250 kB in a message, and 16 MB with eight bytes per value."""
    flags = pa.array([True, False] * 500)
    table = pa.table({"id": [str(i) for i in range(1_000)], **{f"features.f{i}": flags for i in range(2_000)}})
    assert published.publisher.predictions(table) == 1_000
    assert sum(batch.num_rows for value in published.values for batch in open_message(value).batches) == 1_000


TYPES: tuple[FieldType, ...] = ("float", "int", "bool", "category", "timestamp")
VALIDATED = Contract(model="m", fields=tuple(Field(name=t, type=t, source=f"features.{t}") for t in TYPES))
VALUES: list[Any] = [
    *(None, 0, 1, 2.0, 71.5, np.float64(3), np.int32(4), np.bool_(True), Decimal("1.5"), True),
    *("", "71.5", "2013-08-22T12:00:00Z", "2013-08-22T12:00:00", datetime(2013, 8, 22, tzinfo=UTC)),
    *(math.nan, math.inf, np.float32("-inf"), 10**400, [1], {"a": 1}, object()),
]
STRICTER: dict[tuple[str, str | None], set[tuple[str, str]]] = {
    # `int` requires whole numbers.
    ("int", "type"): {("int", "71.5"), ("int", "Decimal('1.5')")},
    # These are sent as text and counted as unseen categories.
    ("category", "not-finite"): {("category", repr(value)) for value in (math.nan, math.inf, np.float32("-inf"))},
    ("category", "type"): {("category", repr(datetime(2013, 8, 22, tzinfo=UTC)))},
}
"""Values that validation rejects and the sketcher accepts, by type and kind."""


def test_validation_and_the_sketcher_agree() -> None:
    producer = RecordingProducer()
    publisher, validator = Publisher(VALIDATED, "3", producer.outbox()), Validator(VALIDATED)
    decoder = JsonDecoder(Registry(contracts={"m": VALIDATED}))
    for kind, value in itertools.product(TYPES, VALUES):
        producer.messages.clear()
        publisher.prediction(id="a", at=NOW_MS, features={kind: value})
        decoded = decoder.decode(batch([*producer.values]))
        assert not decoded.rejected
        (events,) = decoded.events
        source = f"features.{kind}"
        texts = events.texts.get(source)
        is_invalid = np.isinf(events.numbers[source][0]) if texts is None else texts.to_pylist() == [INVALID_TEXT]
        field = next((each.kind for each in validator.check({kind: value}) if each.field == kind), None)
        is_stricter = (kind, repr(value)) in STRICTER.get((kind, field), ())
        assert is_invalid == (field in ("type", "not-finite") and not is_stricter), (kind, value)
    publisher.close(0)
