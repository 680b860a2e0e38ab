"""A value of a hashed field that is no hash is counted as invalid, and its text is stored nowhere."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph import Contract
from barograph.contract import Field, Slice
from barograph.events import encode_arrow
from barograph.publisher.pii import FieldHash

from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, SliceCounts, SliceValues
from barograph_server.sketches.baseline.columns import FieldColumn
from barograph_server.sketches.sketch.categorical import UnseenCategories
from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.batch import Decoded, MessageBatch
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.recorder.arrow_rows import ArrowRows
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.registry.registry import RegisteredBaseline, build_registry
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries

NOW_MS = 1_790_000_000_000
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
PLAIN = (*TEXTS, 4930123456, True, ["ann"])
"""Values of a hashed field that are no hash: texts of other lengths and characters, and values of other types."""
SECRETS = ("ann", "4930123456", "é")


def category(name: str, value: str) -> FieldBaseline:
    return FieldBaseline(name=name, kind="category", categories=(value,), slices={"all": SliceCounts(cells=(1, 0, 0))})


BASELINE = Baseline(
    model="m",
    version="1",
    rows=1,
    slice_rows={"all": 1},
    dimensions=(SliceValues(name="payer", source="context.payer", values=(PAYER("p"),), trained=False),),
    fields=(category("email", KNOWN), category("payer", PAYER("p"))),
)
REGISTRY = build_registry([(CONTRACT, 1)], [])


def batch(values: list[bytes | None]) -> MessageBatch:
    n = len(values)
    return MessageBatch(values, np.zeros(n, np.int32), np.arange(n), np.full(n, NOW_MS))


def as_json(emails: list[Any], **members: Any) -> list[bytes | None]:
    return [
        json.dumps(
            {
                **{"model": "m", "version": "1", "id": f"e{i}", "at": NOW_MS, **members},
                **{"features": {"x": 1.0, "email": email}, "context": {"payer": email}},
            }
        ).encode()
        for i, email in enumerate(emails)
    ]


def as_arrow(emails: list[Any]) -> list[bytes | None]:
    return [
        encode_arrow(
            pa.table(
                {
                    **{"model": ["m"], "version": ["1"], "id": [f"e{i}"], "at": [NOW_MS], "features.x": [1.0]},
                    **{"features.email": [email], "context.payer": [email]},
                }
            )
        )
        for i, email in enumerate(emails)
    ]


def as_dictionaries(emails: list[Any]) -> list[bytes | None]:
    texts = pa.array(emails, pa.string()).dictionary_encode()
    n = len(emails)
    columns: dict[str, Any] = {"model": ["m"] * n, "version": ["1"] * n, "id": [f"e{i}" for i in range(n)]}
    columns |= {"at": [NOW_MS] * n, "features.x": [1.0] * n, "features.email": texts, "context.payer": texts}
    return [encode_arrow(pa.table(columns))]


def as_open(emails: list[Any]) -> list[bytes | None]:
    """Events with an unknown member, which the recorder decodes on its open path."""
    return as_json(emails, later=1)


def as_malformed(emails: list[Any]) -> list[bytes | None]:
    """Events with a bare NaN, which the recorder decodes on its lenient path."""
    return as_json(emails, score=float("nan"))


ENCODINGS: dict[str, Callable[[list[Any]], list[bytes | None]]] = {
    "contract": as_json,
    "open": as_open,
    "lenient": as_malformed,
    "arrow": as_arrow,
    "dictionary": as_dictionaries,
}


def decode(encoding: str, values: list[bytes | None]) -> Decoded:
    decoder = ArrowDecoder(REGISTRY) if encoding in ("arrow", "dictionary") else JsonDecoder(REGISTRY)
    return decoder.decode(batch(values))


def record(encoding: str, values: list[bytes | None]) -> list[dict[str, Any]]:
    rows = ArrowRows(REGISTRY) if encoding in ("arrow", "dictionary") else JsonRows(REGISTRY)
    return sorted(pa.concat_tables(rows.rows(batch(values))).to_pylist(), key=lambda row: str(row["id"]))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_values_that_are_no_hash_are_invalid_and_stored_nowhere(encoding: str) -> None:
    plain = list(TEXTS if encoding == "dictionary" else PLAIN)
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
        assert counts[pane.layout.fields[i].n_cells + FieldColumn.INVALID] == len(plain), field
        assert counts.sum() == len(plain), field
    assert not any(isinstance(sketch, UnseenCategories) for sketch in pane.sketches)
    rows = record(encoding, values)
    assert len(rows) == len(plain)
    assert all(dict(row["strings"])["email"] == dict(row["context"])["payer"] == "not-hashed" for row in rows)
    stored = json.dumps([{**row, "at": 0, "received_at": 0} for row in rows], ensure_ascii=False)
    for secret in (*SECRETS, KNOWN[7:]):
        assert secret not in stored
        assert all(secret.encode() not in data for data in partials)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_hashes_of_any_key_and_nulls_are_counted_and_stored_unchanged(encoding: str) -> None:
    emails = [KNOWN, None, FieldHash(NEXT_KEY, "m", "features.email")("known@example.com")]
    values = ENCODINGS[encoding](emails)
    events = decode(encoding, values).events
    texts = {
        (int(offset), int(index)): text
        for each in events
        for offset, index, text in zip(each.offset, each.index, each.texts["features.email"].to_pylist(), strict=True)
    }
    assert [texts[position] for position in sorted(texts)] == emails
    recorded = [dict(row["strings"]).get("email") for row in record(encoding, values)]
    assert recorded == emails
