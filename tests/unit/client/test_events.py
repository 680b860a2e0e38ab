import enum
import json
import math
import re
import struct
import uuid
import zlib
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here
import pyarrow as pa
import pytest
from barograph import values
from barograph.events import Prediction, ShadowReason, label_key
from barograph.string_views import to_string
from barograph.values import InvalidEvent, QuickPrediction, encode_event, epoch_ms
from hypothesis import given
from hypothesis import strategies as st


class Colour(enum.Enum):
    RED = "red"


def written(**members: Any) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    data = encode_event(Prediction(model="m", version="1", id="a", at=1, **members))
    read: dict[str, Any] = json.loads(data, parse_constant=refuse)
    return read


def feature(value: Any) -> Any:
    return written(features={"x": value})["features"]["x"]


def test_values_are_encoded_as_json() -> None:
    for value, expected in (
        (1.5, 1.5),
        (7, 7),
        (True, True),
        ("a", "a"),
        (None, None),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (np.float64(1.5), 1.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.array(1.5), 1.5),
        (np.datetime64("2024-01-01T00:00:00.123456789"), 1704067200123),
        (np.datetime64("NaT", "s"), None),
        (pd.NA, None),
        (pd.Timestamp("2024-01-01", tz="UTC"), "2024-01-01T00:00:00+00:00"),
        (datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01T00:00:00Z"),
        (Decimal("1.25"), 1.25),
        (Colour.RED, "red"),
        (type("Text", (str,), {})("a"), "a"),  # a subclass, as of some libraries
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (2**63 - 1, 2**63 - 1),
        ([1], [1]),
    ):
        assert (feature(value), type(feature(value))) == (expected, type(expected)), repr(value)


def test_unsupported_values_are_encoded_as_their_type_only() -> None:
    for value in (object(), np.array([1, 2]), np.timedelta64(3, "s"), 1 + 2j):
        assert feature(value) == {"invalid": type(value).__name__}
    assert values.clean(["secret"]) == {"invalid": "list"}
    assert values.clean(b"secret") == {"invalid": "bytes"}
    endless: list[Any] = []
    for _ in range(100_000):
        endless = [endless]
    assert feature(endless) == {"invalid": "list"}
    while endless:  # taken apart by hand: freeing it at once would overflow the stack
        endless = endless.pop()


def test_all_members_become_strict_json() -> None:
    assert written() == {"model": "m", "version": "1", "id": "a", "at": 1}, "missing members are left out"
    assert written(class_="late")["class"] == "late"
    event = written(features={"x\ud800": "a\udfff"}, class_="\ud800", scores={True: 0.5, None: 0.25, np.int64(3): 0.25})
    assert (event["features"], event["class"]) == ({"x?": "a?"}, "?"), "half a surrogate pair"
    assert event["scores"] == {"true": 0.5, "": 0.25, "3": 0.25}, "keys are text"
    assert written(features={"x": 2**70, "y": math.nan})["features"] == {"x": float(2**70), "y": "NaN"}
    assert written(features={"x": Decimal("1.25"), "y": math.nan})["features"] == {"x": 1.25, "y": "NaN"}
    event = written(score=math.nan, latency_ms=-math.inf, scores={"a": math.inf}, metrics={"t": math.nan})
    assert (event["score"], event["latency_ms"]) == ("NaN", "-Infinity")
    assert (event["scores"], event["metrics"]) == ({"a": "Infinity"}, {"t": "NaN"})

    features = {"x": math.inf}
    written(features=features)
    assert features == {"x": math.inf}, "cleaning does not change the caller's map"

    class Broken(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError("secret")

    with pytest.raises(InvalidEvent, match="a value cannot be written") as caught:
        written(features=Broken(x=math.nan))
    assert "secret" not in str(caught.value)


def test_quick_predictions_are_encoded_like_plain_ones() -> None:
    members = [field.name for field in msgspec.structs.fields(Prediction)]
    assert members == [field.name for field in msgspec.structs.fields(QuickPrediction)]
    texts: dict[str, Any] = {name: f"<{name}>" for name in members}
    assert encode_event(QuickPrediction(*texts.values())) == encode_event(Prediction(**texts))
    plain = Prediction(model="m", version="1", id="a", at=1)
    assert encode_event(QuickPrediction("m", "1", "a", 1)) == encode_event(plain)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5))
def test_all_features_give_strict_json(features: dict[str, Any]) -> None:
    message = written(features=features)["features"]
    assert len(message) == len(features)
    for name, value in features.items():
        if isinstance(value, float) and not math.isfinite(value):
            assert message[name] in ("NaN", "Infinity", "-Infinity")
        elif not isinstance(value, int):
            assert message[name] == value


def test_text_of_a_value_is_its_json() -> None:
    texts = [("a", "a"), (True, "true"), (7, "7"), (0.5, "0.5"), (1.0, "1.0"), (None, None)]
    for value, text in (*texts, (np.int64(7), "7"), (Colour.RED, "red")):
        assert (values.text_of(value), values.text_map({"k": value})) == (text, {"k": text}), repr(value)


def test_a_time_is_epoch_milliseconds() -> None:
    for at in (
        1704067200123,
        datetime(2024, 1, 1, 0, 0, 0, 123_999, tzinfo=UTC),
        datetime(2024, 1, 1, 2, 0, 0, 123_000, tzinfo=timezone(timedelta(hours=2))),
        pd.Timestamp("2024-01-01T00:00:00.123456789", tz="UTC"),
        np.datetime64("2024-01-01T00:00:00.123456789"),
    ):
        assert epoch_ms(at) == 1704067200123, repr(at)
    assert epoch_ms(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1, "rounded down"
    for wrong in (datetime(2024, 1, 1), "2024-01-01", True, 1.5, math.nan, 2**64, pd.NaT, object()):  # noqa: DTZ001
        with pytest.raises(InvalidEvent, match="pass an aware datetime or epoch milliseconds"):
            epoch_ms(wrong)


def test_an_id_is_text_and_an_event_needs_one() -> None:
    for value, text in (("a", "a"), (7, "7"), (uuid.UUID(int=1), str(uuid.UUID(int=1)))):
        assert values.event_id(value) == text
    for wrong in (None, "", pd.NA, object(), ["a"]):
        with pytest.raises(InvalidEvent, match="id is "):
            values.event_id(wrong)


def test_a_label_is_a_flag_a_number_or_text() -> None:
    for value, label in ((True, True), ("late", "late"), (0.5, 0.5), (np.bool_(True), True), (Colour.RED, "red")):
        assert (values.label_value(value), type(values.label_value(value))) == (label, type(label)), repr(value)
    for wrong in (None, math.nan, math.inf, [1], object(), np.array([1, 2])):
        with pytest.raises(InvalidEvent):
            values.label_value(wrong)


def test_the_partition_of_an_id_can_be_computed_in_any_language() -> None:
    assert label_key("größe", "7") == "größe\x007".encode()
    assert zlib.crc32(label_key("flight-delay", "0f8a61c2")) == 0x16AC1426


def test_reserved_errors_of_shadows_are_those_of_the_page() -> None:
    """Recorded rows contain the codes: a new code changes the format."""
    page = (Path(__file__).parents[3] / "docs/events.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(shadow-[a-z-]+)` \|", page, re.MULTILINE) == list(ShadowReason)


LONG = b"b" * 30
SLOTS = {
    "negative length": struct.pack("<iiii", -0x1000000, 0, 0, 0),
    "length beyond the text": struct.pack("<iiii", 1 << 30, 0, 0, 0),
    "unknown buffer": struct.pack("<iiii", 30, 0, 1 << 20, 0),
}


@pytest.mark.parametrize("slot", SLOTS.values(), ids=SLOTS)
@pytest.mark.parametrize("start", [0, 1, 3])
def test_slots_of_nulls_are_not_read(slot: bytes, start: int) -> None:
    slots = [struct.pack("<i12s", 1, b"a"), slot, struct.pack("<i4sii", 30, LONG[:4], 0, 0), slot]
    buffers = [pa.py_buffer(each) for each in (bytes([0b0101]), b"".join(slots), LONG)]
    array = pa.Array.from_buffers(pa.string_view(), len(slots), buffers).slice(start)
    array.validate(full=True)
    expected = ["a", None, LONG.decode(), None][start:]
    assert to_string(array).to_pylist() == expected
    assert to_string(pa.chunked_array([array, array])).to_pylist() == expected * 2


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("to", [pa.string(), pa.large_string()])
def test_every_type_of_text_becomes_strings(kind: pa.DataType, to: pa.DataType) -> None:
    for texts in ([], [None, None], ["", None, "名前", "x" * 100]):
        column = to_string(pa.array(texts, kind), to)
        assert (column.type, column.to_pylist()) == (to, texts)
