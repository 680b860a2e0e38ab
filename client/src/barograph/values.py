"""Values as events hold them: what Python, NumPy and pandas give becomes strict JSON, in one way everywhere.

Floats that are not finite become the texts `NaN`, `Infinity` and `-Infinity`, which readers count as invalid and
do not take for missing. An object that JSON does not know becomes `{"invalid": "TypeName"}`, which is invalid in
every field: its type is told, its content is not. Lists and maps are invalid too, and travel as they are.
"""

from __future__ import annotations

import enum
import json
import math
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from barograph.events import Prediction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_INT64_MAX = 2**63 - 1
_NAT = -(2**63)
"""How NumPy stores that there is no time."""
_MISSING = ("NAType", "NaTType")
"""pandas' own kinds of nothing, told by name: pandas is not imported here."""


class InvalidEvent(ValueError):
    """An event cannot be published; the text says why, without the values."""


def plain(value: Any) -> Any:
    """Make a value of Python's own types of one that msgspec does not know (its `enc_hook`)."""
    if isinstance(value, float):  # NumPy's float64 above all
        return float(value)
    if type(value).__name__ in _MISSING:
        return None
    for kind in (int, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, datetime):
        return datetime.isoformat(value)
    try:
        found = _scalar(value)
    except Exception:  # an array of many values, or no array at all
        found = value
    if found is None or type(found) in (bool, int, float, str):
        return found
    return {"invalid": type(value).__name__}


def _scalar(value: Any) -> Any:
    """Take the one value out of a NumPy scalar, a tensor or an array of one."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "m":
        return value
    if kind == "M":  # of nanoseconds item() makes a bare number
        epoch = int(value.astype("datetime64[ms]").astype("int64"))
        return None if epoch == _NAT else epoch
    return value.item()


QuickPrediction: Any = msgspec.defstruct(
    "QuickPrediction",
    [(f.name, Any) if f.required else (f.name, Any, None) for f in msgspec.structs.fields(Prediction)],
    omit_defaults=True,
    rename={"class_": "class"},
    gc=False,
)
"""A `Prediction` for writing: its members are given in order, which takes a tenth of the time of naming them."""

ENCODER = msgspec.json.Encoder(enc_hook=plain, decimal_format="number")


def encode_event(event: Any) -> bytes:
    """Write a prediction (plain or quick) as strict JSON; its values are cleaned only where they need it.

    Raises:
        InvalidEvent: no cleaning helps.
    """
    try:
        data = ENCODER.encode(event)
    except Exception:  # a key that is no text, half a surrogate pair, lists without end, a failing conversion
        return _encode_cleaned(event)
    # From the end: Python looks for few bytes so in half the time, a tenth of the whole call.
    if data.rfind(b"null") >= 0 and _hides_floats(event):
        return _encode_cleaned(event)
    return data


def _hides_floats(event: Any) -> bool:
    """Whether some null of the JSON is a float that is not finite; msgspec writes those so."""
    rooms = (event.features, event.scores, event.metrics)
    return any(_may_hide(members.values()) for members in rooms if members) or _may_hide(
        (event.score, event.latency_ms)
    )


def _may_hide(values: Iterable[Any]) -> bool:
    isfinite = math.isfinite
    for value in values:
        if value is None:
            continue
        kind = type(value)
        if kind is float:
            if not isfinite(value):
                return True
        elif kind is not str and kind is not int and kind is not bool:
            return True  # NumPy's floats, or whatever may hide more of them
    return False


def _encode_cleaned(event: Any) -> bytes:
    try:
        for name in ("features", "scores", "metrics", "context"):
            members = getattr(event, name)
            if members:
                setattr(event, name, {text_of(key) or "": clean(value) for key, value in members.items()})
        for name in ("id", "arm", "status", "error", "class_", "score", "latency_ms"):
            setattr(event, name, clean(getattr(event, name)))
        return ENCODER.encode(event)
    except Exception as error:
        raise InvalidEvent(f"a value cannot be written ({type(error).__name__})") from error


def clean(value: Any) -> Any:
    """Make one value fit for strict JSON."""
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else _not_finite(value)
    if kind is int:
        return value if -_INT64_MAX <= value <= _INT64_MAX else _large(value)
    if kind is str:
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    if isinstance(value, enum.Enum):
        return clean(value.value)
    if isinstance(value, Decimal):
        return clean(float(value))
    if isinstance(value, uuid.UUID):
        return str(value)
    if kind is datetime or kind is date:
        return value
    if isinstance(value, list | tuple | dict | set | frozenset | bytes):
        return {"invalid": kind.__name__}
    simple = plain(value)
    return simple if type(simple) is dict else clean(simple)


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _large(value: int) -> float | str:
    try:
        return float(value)
    except OverflowError:
        return "Infinity" if value > 0 else "-Infinity"


def text_of(value: Any) -> str | None:
    """Write a value as text: flags and numbers as JSON does, None as None; halves of surrogate pairs as `?`."""
    if value is None:
        return None
    if type(value) is str:
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    simple = clean(value)
    if simple is None or type(simple) is str:
        return simple
    if isinstance(simple, datetime | date):
        return simple.isoformat()
    return json.dumps(simple)


def text_map(members: Mapping[Any, Any]) -> dict[str, str | None]:
    """Write the values of a map as text."""
    return {text_of(key) or "": text_of(value) for key, value in members.items()}


def epoch_ms(at: Any) -> int:
    """Read a time as epoch milliseconds (rounded down).

    Takes an aware datetime (pandas' too), NumPy's datetime64, or whole epoch milliseconds.

    Raises:
        InvalidEvent: it is none of these, or a datetime without time zone.
    """
    if isinstance(at, datetime):
        if at.tzinfo is None or type(at).__name__ in _MISSING:
            raise InvalidEvent("at has no time zone; pass an aware datetime or epoch milliseconds")
        return (at - _EPOCH) // _MILLISECOND
    simple = at if type(at) in (bool, int, float) else plain(at)
    whole = type(simple) is int or (type(simple) is float and simple.is_integer())
    if not whole or not -_INT64_MAX <= simple <= _INT64_MAX:
        raise InvalidEvent("at is no time; pass an aware datetime or epoch milliseconds")
    return int(simple)


def event_id(value: Any) -> str:
    """Read an id as text.

    Raises:
        InvalidEvent: it is missing or empty.
    """
    if type(clean(value)) is dict:
        raise InvalidEvent(f"id is {type(value).__name__}; pass text")
    text = text_of(value)
    if not text:
        raise InvalidEvent("id is missing or empty; pass the request's id")
    return text


def label_value(value: Any) -> bool | int | float | str:
    """Read a label: a flag, a finite number or text.

    Raises:
        InvalidEvent: it is none of these.
    """
    simple = plain(value) if type(value) not in (bool, int, float, str) else value
    if isinstance(value, enum.Enum):
        simple = value.value
    if type(simple) is float and not math.isfinite(simple):
        raise InvalidEvent("label is not finite; leave out what is not known")
    if type(simple) is str:
        return simple.encode("utf-8", "replace").decode()
    if type(simple) not in (bool, int, float):
        raise InvalidEvent(f"label is {type(value).__name__}; pass a flag, a number or text")
    found: bool | int | float = simple
    return found
