"""Comparison of two results of a decoder, bit by bit."""

from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.streams.events.batch import Decoded
from barograph_server.streams.events.columns import EncodedNames, EventColumns

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


def _bits(values: NDArray[Any]) -> tuple[str, bytes]:
    return values.dtype.str, values.tobytes()


def _texts(values: pa.Array) -> list[str | None]:
    values.validate(full=True)
    texts: list[str | None] = values.to_pylist()
    return texts


def _names(names: EncodedNames) -> list[str | None]:
    assert sorted(names.values) == list(names.values)
    return [None if code < 0 else names.values[code] for code in names.code.tolist()]
