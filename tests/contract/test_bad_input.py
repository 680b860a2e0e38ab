"""Each line of the table of bad input in docs/events.md matches the sketcher's decoders."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph import Contract, Reason
from barograph.contract import Field
from barograph.events import encode_arrow

from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.arrow_message import MAX_ROWS, MAX_UNPACKED_BYTES
from barograph_server.streams.events.batch import Decoded, MessageBatch
from barograph_server.streams.events.columns import INVALID_TEXT
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.recorder.arrow_rows import ArrowRows
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.recorder.labels import decode_arrow_labels, decode_json_labels
from barograph_server.streams.registry.registry import Registry

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
        where = line, (value or b"")[:60]
        documented = outcome_of(line)
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
    n_rows = [sum(len(table) for table in JsonRows(registry).rows(batch([event(at=at)])))]
    n_rows.append(sum(len(table) for table in ArrowRows(registry).rows(batch([rows]))))
    assert n_rows == [is_accepted] * 2


def _state(decoded: Decoded) -> str:
    (events,) = decoded.events
    x, c = events.numbers["features.x"][1], events.texts["features.c"][1].as_py()
    if events.texts["features.h"][1].as_py() == INVALID_TEXT:
        return INVALID_H
    if c == INVALID_TEXT:
        return INVALID_C
    if np.isinf(x):
        return INVALID_X
    return NULL if np.isnan(x) else COUNTED


def test_an_arrow_message_that_is_invalid_or_too_large_is_dead_lettered_as_a_whole() -> None:
    good = encode_arrow(pa.table({name: [GOOD[name]] for name in ("model", "version", "id", "at")}))
    decoded = ArrowDecoder(REGISTRY).decode(batch([good, b"no arrow", good[: len(good) // 2], b""]))
    assert outcome_of("Arrow by its header, but not an Arrow stream") == "dead letter `not-arrow`"
    assert outcome_of("damaged Arrow") == "dead letter `not-arrow`"
    assert [(dead.reason, dead.offset) for dead in decoded.rejected] == [
        ("not-arrow", 1),
        ("not-arrow", 2),
        ("empty", 3),
    ]
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
