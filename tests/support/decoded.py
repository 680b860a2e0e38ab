"""Comparison of two results of a decoder, bit by bit."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.streams.events.batch import Decoded
from barograph_server.streams.events.columns import EncodedNames, EventColumns
from barograph_server.streams.recorder.rows import RAW_SCHEMAS

Rows = list[tuple[Any, ...]]


def content(decoded: Decoded) -> tuple[dict[str, dict[str, Any]], Rows, Rows]:
    """Return the columns of each model, the rejected events and the producers' numbers, for `==`."""
    assert len({events.model for events in decoded.events}) == len(decoded.events)
    arrivals = [
        (each.model, int(at_ms), name, int(seq))
        for each in decoded.arrivals
        for at_ms, name, seq in zip(each.at_ms, _names(each.producer), each.seq, strict=True)
    ]
    rejected = [
        (each.partition, each.offset, each.index, each.reason, each.value, each.detail, each.model, each.received_ms)
        for each in decoded.rejected
    ]
    return {events.model: columns(events) for events in decoded.events}, sorted(rejected), sorted(arrivals)


def columns(events: EventColumns) -> dict[str, Any]:
    """Return all columns of events as values that are equal if and only if their bits are."""
    return {
        **{name: _bits(getattr(events, name)) for name in ("at_ms", "received_ms", "partition", "offset", "index")},
        "versions": (events.versions, _bits(events.version_code)),
        "errors": _bits(events.errors),
        "error kinds": [None] * len(events) if events.error_kinds is None else _names(events.error_kinds),
        "shadow": [False] * len(events) if events.shadow is None else events.shadow.tolist(),
        "numbers": {source: _bits(values) for source, values in events.numbers.items()},
        "texts": {source: _texts(values) for source, values in events.texts.items()},
    }


def row_content(tables: Sequence[pa.Table]) -> list[dict[str, Any]]:
    """Return raw rows by message, with values as text, which shows every bit of a float."""
    for table in tables:
        assert table.schema == RAW_SCHEMAS["predictions"]
        table.validate(full=True)
    rows = sorted((row for table in tables for row in table.to_pylist()), key=lambda row: row["offset"])
    # The order of a map's entries is that of the contract or that of the event.
    return [
        {name: sorted(map(repr, value)) if isinstance(value, list) else repr(value) for name, value in row.items()}
        for row in rows
    ]


def _bits(values: NDArray[Any]) -> tuple[str, bytes]:
    return values.dtype.str, values.tobytes()


def _texts(values: pa.Array) -> list[str | None]:
    values.validate(full=True)
    texts: list[str | None] = values.to_pylist()
    return texts


def _names(names: EncodedNames) -> list[str | None]:
    assert sorted(names.values) == list(names.values)
    return [None if code < 0 else names.values[code] for code in names.code.tolist()]
