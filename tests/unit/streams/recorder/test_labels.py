"""Labels → rows or rejected events, in JSON and Arrow."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from barograph.contract.label_values import label_text
from barograph.events import encode_arrow

from barograph_server.streams.recorder.labels import DecodedLabels, decode_arrow_labels, decode_json_labels
from tests.support.messages import NOW_MS, batch_of

batch = partial(batch_of, partition=3, first=100)
DAY_MS = 86_400_000
MODELS = frozenset(["toy"])
LABEL: dict[str, Any] = {"model": "toy", "id": "a", "label": True, "at": NOW_MS}


def from_json(*values: Any) -> DecodedLabels:
    encoded = [each if isinstance(each, bytes) or each is None else json.dumps(each).encode() for each in values]
    return decode_json_labels(batch(*encoded), MODELS)


def from_arrow(**columns: Any) -> DecodedLabels:
    return decode_arrow_labels(batch(encode_arrow(pa.table(columns))), MODELS)


def rows(decoded: DecodedLabels) -> list[dict[str, Any]]:
    return [row for table in decoded.rows for row in table.to_pylist()]


@pytest.mark.parametrize(
    ("label", "text", "kind"),
    [
        (True, "true", "bool"),
        (1, "1", "number"),
        (1.0, "1", "number"),
        (-0.25, "-0.25", "number"),
        (1e300, "1e+300", "number"),
        (2**62, "4611686018427387904", "number"),
        ("late", "late", "string"),
        ("true", "true", "string"),
    ],
)
def test_labels_of_all_types_are_the_same_in_json_and_arrow(label: Any, text: str, kind: str) -> None:
    for result in (
        rows(from_json({**LABEL, "label": label})),
        rows(from_arrow(model=["toy"], id=["a"], label=[label], at=[NOW_MS])),
    ):
        (row,) = result
        assert (row["label"], row["label_type"], row["model"], row["id"]) == (text, kind, "toy", "a")
        assert round(row["at"].timestamp() * 1000) == round(row["received_at"].timestamp() * 1000) == NOW_MS
        assert (row["partition"], row["offset"], row["message_index"]) == (3, 100, 0)
    for number in (0.1, 1 / 3, 2.0**53, 2.0**70, 5e-324):
        assert float(label_text(number)) == number, "the text has the same number"


BAD: dict[str, tuple[Any, str]] = {
    "empty": (b"", "empty"),
    "not JSON": (b"{nope", "not-json"),
    "invalid UTF-8": (b'{"model":"toy","id":"\xff","label":1,"at":1}', "not-json"),
    "a list": ([1], "not-an-object"),
    "deep": (b'{"model":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too-deep"),
    "no model": ({**LABEL, "model": None}, "missing-model"),
    "unknown model": ({**LABEL, "model": "nobody's"}, "unknown-model"),
    "no id": ({**LABEL, "id": ""}, "missing-id"),
    "a time without zone": ({**LABEL, "at": "2026-09-21T14:13:20"}, "bad-time"),
    "the future": ({**LABEL, "at": NOW_MS + 301_000}, "future-time"),
    "no label": ({"model": "toy", "id": "a", "at": NOW_MS}, "wrong-type"),
    "a label that is a list": ({**LABEL, "label": [1]}, "wrong-type"),
    "a label that is NaN": ({**LABEL, "label": math.nan}, "wrong-type"),
}


def test_an_invalid_label_is_rejected() -> None:
    for name, (value, reason) in BAD.items():
        decoded = from_json(LABEL, value, LABEL)
        assert [row["offset"] for row in rows(decoded)] == [100, 102], name
        (dead,) = decoded.rejected
        original = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode()
        assert (dead.reason, dead.partition, dead.offset, dead.index, dead.value) == (reason, 3, 101, 0, original), name


def test_labels_off_the_format_are_read_if_possible() -> None:
    decoded = from_json(
        b'{"model":"toy","id":"a\\ud800","label":"b\\ud800","at":%d,"more":NaN}' % NOW_MS,
        {**LABEL, "at": "2026-09-21T14:13:20Z", "more": 1},
    )
    assert [(row["id"], row["label"]) for row in rows(decoded)] == [("a?", "b?"), ("a", "true")]
    assert decoded.rejected == []
    no_arrow = decode_arrow_labels(batch(b"nope", b"", None), MODELS)
    assert [str(dead.reason) for dead in no_arrow.rejected] == ["not-arrow", "empty", "empty"]


def test_an_invalid_row_does_not_cost_its_batch() -> None:
    decoded = from_arrow(
        model=pa.array(["toy", "nobody's", None, "toy", "toy", "toy", "toy", "toy"]).dictionary_encode(),
        id=["a", "b", "c", "", "e", "f", "g", "h"],
        label=[1.0, 1.0, 1.0, 1.0, math.nan, None, 1.0, 1.0],
        at=pa.array([NOW_MS] * 6 + [None, NOW_MS + DAY_MS], pa.timestamp("ms", "UTC")),
    )
    assert [(row["message_index"], row["id"]) for row in rows(decoded)] == [(0, "a")]
    reasons = {dead.index: str(dead.reason) for dead in decoded.rejected}
    assert reasons == {
        **{1: "unknown-model", 2: "missing-model", 3: "missing-id", 4: "wrong-type", 5: "wrong-type"},
        **{6: "missing-time", 7: "future-time"},
    }
    for dead in decoded.rejected:
        with pa.ipc.open_stream(dead.value) as reader:
            assert reader.read_all().num_rows == 1
