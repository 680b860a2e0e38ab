"""Kinds of malformed events, each with its expected outcome."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, Reason, encode_arrow

from barograph_server.streams.events.arrow_message import MAX_ROWS

ARROW_HEADERS = [(CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)]
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Kind:
    name: str
    make: Callable[[dict[str, Any]], bytes | None]
    reason: Reason | None
    """Reason of the dead letter; None if the event is counted."""
    invalid: tuple[str, ...] = ()
    """Fields that count as invalid."""
    headers: list[tuple[str, bytes]] | None = None
    good_rows: int = 0
    """Number of valid events in the same message."""


def _json(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], bytes]:
    def make(event: dict[str, Any]) -> bytes:
        change(event)
        return json.dumps(event).encode()

    return make


def _without(member: str) -> Callable[[dict[str, Any]], bytes]:
    return _json(lambda event: event.pop(member))


def _with(member: str, value: object) -> Callable[[dict[str, Any]], bytes]:
    return _json(lambda event: event.update({member: value}))


def _feature(name: str, value: object) -> Callable[[dict[str, Any]], bytes]:
    return _json(lambda event: event["features"].update({name: value}))


def _arrow(event: dict[str, Any], second: str | None = "-b") -> pa.Table:
    """Three events, of which the second has no id if `second` is None."""
    ids = [event["id"], second and event["id"] + second, event["id"] + "-c"]
    return pa.table(
        {
            "model": ["toy"] * 3,
            "version": ["1"] * 3,
            "id": ids,
            "at": pa.array([event["at"]] * 3).cast(pa.timestamp("ms", "UTC")),
            "features.x": [0.1, 0.2, 0.3],
            "features.k": [1, 2, 3],
            "features.flag": [True, False, True],
            "features.colour": ["red", "green", "blue"],
            "context.region": ["north"] * 3,
        }
    )


def _arrow_corrupt(event: dict[str, Any]) -> bytes:
    data = bytearray(encode_arrow(_arrow(event)))
    for i in range(8, 200):
        data[i] ^= 0x5A
    return bytes(data)


_HUGE = b'"k": 9' + b"9" * 400 + b', "k_": '
_MANY = [0] * (MAX_ROWS + 1)
_LISTS = b"[" * 100_000 + b"]" * 100_000
KINDS: tuple[Kind, ...] = (
    Kind("not JSON", lambda e: b"{this is not json", Reason.NOT_JSON),
    Kind("cut off", lambda e: json.dumps(e).encode()[:-20], Reason.NOT_JSON),
    Kind("not UTF-8", lambda e: json.dumps(e).encode().replace(b'"red"', b'"r\xff\xfed"') + b"\xff", Reason.NOT_JSON),
    Kind("a list", lambda e: b"[1, 2, 3]", Reason.NOT_AN_OBJECT),
    Kind("a number", lambda e: b"42", Reason.NOT_AN_OBJECT),
    Kind("empty", lambda e: b"", Reason.EMPTY),
    Kind("null", lambda e: None, Reason.EMPTY),
    Kind("deep", lambda e: json.dumps(e).encode()[:-1] + b',"deep":' + _LISTS + b"}", Reason.TOO_DEEP),
    Kind("no model", _without("model"), Reason.MISSING_MODEL),
    Kind("unknown model", _with("model", "nobody's"), Reason.UNKNOWN_MODEL),
    Kind("no version", _without("version"), Reason.MISSING_VERSION),
    Kind("no id", _without("id"), Reason.MISSING_ID),
    Kind("empty id", _with("id", ""), Reason.MISSING_ID),
    Kind("id a number", _with("id", 17), Reason.WRONG_TYPE),
    Kind("no time", _without("at"), Reason.MISSING_TIME),
    Kind("time is a word", _with("at", "yesterday"), Reason.BAD_TIME),
    Kind("time without zone", _with("at", "2026-01-01T00:00:00"), Reason.BAD_TIME),
    Kind("a year ahead", _json(lambda e: e.update(at=e["at"] + 366 * DAY_MS)), Reason.FUTURE_TIME),
    Kind("years behind", _json(lambda e: e.update(at=e["at"] - 1500 * DAY_MS)), Reason.TOO_OLD),
    Kind("features a list", _with("features", [1, 2]), Reason.WRONG_TYPE),
    Kind("corrupt Arrow", _arrow_corrupt, Reason.NOT_ARROW, headers=ARROW_HEADERS),
    Kind("too many rows", lambda e: encode_arrow(_arrow(e).take(_MANY)), Reason.TOO_LARGE, headers=ARROW_HEADERS),
    Kind("JSON called Arrow", lambda e: json.dumps(e).encode(), Reason.NOT_ARROW, headers=ARROW_HEADERS),
    Kind("Arrow with one bad row", lambda e: encode_arrow(_arrow(e, None)), Reason.MISSING_ID, (), ARROW_HEADERS, 2),
    Kind("number as string", _feature("x", "3.5"), None, invalid=("x",)),
    Kind("NaN", _feature("x", float("nan")), None, invalid=("x",)),
    Kind("infinity", _feature("x", float("-inf")), None, invalid=("x",)),
    Kind("bool as number", _feature("k", True), None, invalid=("k",)),
    Kind("number as bool", _feature("flag", 7), None, invalid=("flag",)),
    Kind("number as category", _feature("colour", 5), None, invalid=("colour",)),
    Kind("huge integer", lambda e: json.dumps(e).encode().replace(b'"k": ', _HUGE), None, ("k",)),
    Kind("megabyte string", _feature("colour", "x" * 900_000), None),
    Kind("ten thousand keys", _json(lambda e: e["features"].update({f"f{i}": i for i in range(10_000)})), None),
    Kind("lone surrogate", _feature("colour", "\ud800"), None),
)
