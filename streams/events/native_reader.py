"""JSON messages → columns by the optional library `barograph_native`, which is written in Rust.

The library accepts an event only if it is valid beyond doubt: the members that the model's struct type has, of the
types that it has, at a time within the limits. It leaves every other message to `JsonDecoder`. So the rules, the
reasons of rejections and the conversion of odd values exist once, and the results are the same with and without the
library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from barograph.contract import CONFIDENCE
from barograph.events import ROLES, SCORES, SHADOW
from numpy.typing import NDArray

from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.columns import (
    INVALID_TEXT,
    EncodedNames,
    EventColumns,
    ProducerArrivals,
    concat_columns,
    encode_names,
    encode_versions,
    producer_arrivals,
)
from barograph_server.streams.events.event_time import FUTURE_MS
from barograph_server.streams.events.event_type import EventType
from barograph_server.streams.events.hashed_values import replace_plain_values
from barograph_server.streams.events.projection import SCORES_PREFIX

if TYPE_CHECKING:
    from barograph_native import Columns, JsonReader, ModelSpec, Names, Texts

try:
    import barograph_native
except ImportError:
    VERSION = None
    """The version of the library; None if it is not installed."""
else:
    VERSION = version("barograph-native")

MEMBERS = {
    **{"model": "model", "version": "version", "id": "id", "at": "time"},
    **{"error": "name", "role": "role", "producer": "name", "seq": "seq"},
}
"""The members of every event, each with what it holds in the library's words."""


def describe(*, requested: bool = True) -> str:
    """Return which code reads JSON events, for people."""
    if VERSION is None:
        return "pure Python (barograph-native is not installed)"
    return f"barograph-native {VERSION}" if requested else "pure Python (processors.native is false)"


def make_reader(models: list[ModelSpec], retention_ms: int) -> JsonReader:
    """Return the library's reader of the events of models, which it describes."""
    return barograph_native.JsonReader(models, [(role, role == SHADOW) for role in ROLES], FUTURE_MS, retention_ms)


class NativeReader:
    """Reads the messages of one batch after another; `take` empties it."""

    def __init__(self, types: Mapping[str, EventType], retention_ms: int) -> None:
        self._types = [event_type for event_type in types.values() if _is_supported(event_type)]
        self._reader = make_reader([_model(event_type) for event_type in self._types], retention_ms)
        self._batches: list[MessageBatch] = []
        self._left: dict[tuple[int, int], int] = {}
        """Partition and offset of each message that was left → its number in the batch."""
        self.messages = 0

    @property
    def panics(self) -> int:
        """Messages that a defect of the library left, since the reader exists."""
        return self._reader.panics

    @property
    def n_bytes(self) -> int:
        """Size of the numbers in the columns."""
        return self._reader.number_bytes

    def add(self, batch: MessageBatch) -> MessageBatch:
        """Read messages, and return those that are left."""
        left = self._reader.add(batch.values, batch.received_ms.tobytes(), self.messages)
        self._batches.append(MessageBatch([], batch.partition, batch.offset, batch.received_ms))
        first = self.messages
        self.messages += len(batch)
        if not left:
            return batch.select(slice(0, 0))
        rest = batch if len(left) == len(batch) else batch.select(np.array(left, dtype=np.int64))
        self._left.update(zip(_positions(rest), (first + i for i in left), strict=True))
        return rest

    def take(self, others: Mapping[str, EventColumns]) -> tuple[list[EventColumns], list[ProducerArrivals]]:
        """Return the events of each model in the order of their messages, and the arrivals of those read here.

        Args:
            others: model → its events among the messages that were left.
        """
        merged = dict(others)
        arrivals: list[ProducerArrivals] = []
        partition, offset, received_ms = (
            np.concatenate([getattr(batch, name) for batch in self._batches] or [np.empty(0, np.int64)])
            for name in ("partition", "offset", "received_ms")
        )
        for event_type, columns in zip(self._types, self._reader.take(), strict=True):
            if columns is None:
                continue
            model = event_type.projection.model
            message, at_ms, (_, _, producers), seqs = columns[:4]
            rows = np.frombuffer(message, np.uint32)
            events = _events(event_type, columns, partition[rows], offset[rows], received_ms[rows])
            arrivals += producer_arrivals(
                model, np.frombuffer(at_ms, np.int64), _encode(producers), np.frombuffer(seqs, np.int64)
            )
            if model in merged:
                other = merged[model]
                number = np.array([self._left[position] for position in _positions(other)], dtype=np.int64)
                events = concat_columns([events, other]).take(np.argsort(np.append(rows, number), kind="stable"))
            merged[model] = events
        self._batches, self._left, self.messages = [], {}, 0
        return list(merged.values()), arrivals


def _positions(messages: MessageBatch | EventColumns) -> Sequence[tuple[int, int]]:
    return list(zip(messages.partition.tolist(), messages.offset.tolist(), strict=True))


def _is_supported(event_type: EventType) -> bool:
    projection = event_type.projection
    numbers = {source for source in projection.order if source.startswith(SCORES_PREFIX)} <= {*projection.numbers}
    is_class_text = "class" not in event_type.paths or "class" in projection.texts
    return event_type.is_typed and is_class_text and (numbers or not event_type.all_scores)


def _sources(event_type: EventType) -> tuple[list[str], list[str]]:
    """Return the sources of the columns of numbers and of texts, in the order of the model's members."""
    texts = set(event_type.projection.texts)
    sources = [source for source in event_type.projection.order if source != CONFIDENCE or not event_type.all_scores]
    numbers = [source for source in sources if source not in texts]
    if event_type.all_scores:
        numbers.append(CONFIDENCE)
    return numbers, [source for source in sources if source in texts]


def _model(event_type: EventType) -> ModelSpec:
    projection = event_type.projection
    kinds = {
        **dict.fromkeys(projection.numbers, "number"),
        **dict.fromkeys(projection.flags, "flag"),
        **dict.fromkeys(projection.times, "moment"),
        **dict.fromkeys(projection.texts, "text"),
    }
    if "class" in kinds:
        kinds["class"] = "class"
    members = [("", name, kind) for name, kind in MEMBERS.items()]
    maps = [group for group, sources in event_type.groups.items() if sources or _has_all(event_type, group)]
    members += [("", group, "map") for group in maps]
    for source in projection.order:
        group, _, name = source.partition(".")
        if name:
            members.append((group, name, kinds[source]))
        elif source in event_type.paths:
            members.append(("", source, kinds[source]))
    return projection.model, members, SCORES if event_type.all_scores else "", None


def _has_all(event_type: EventType, group: str) -> bool:
    return group == SCORES and event_type.all_scores


def _events(
    event_type: EventType,
    columns: Columns,
    partition: NDArray[np.int32],
    offset: NDArray[np.int64],
    received_ms: NDArray[np.int64],
) -> EventColumns:
    _, at_ms, (versions, errors, _), _, shadows, numbers, texts, _, _ = columns
    projection = event_type.projection
    distinct, order = encode_versions(versions[0])
    error_kinds = _encode(errors)
    shadow = np.frombuffer(shadows, np.bool_)
    number_sources, text_sources = _sources(event_type)
    text_columns = dict(zip(text_sources, map(text_array, texts), strict=True))
    for source in projection.hashed & text_columns.keys():
        text_columns[source] = replace_plain_values(text_columns[source], INVALID_TEXT)
    return EventColumns(
        projection.model,
        np.frombuffer(at_ms, np.int64),
        received_ms,
        partition,
        offset,
        np.zeros(len(partition), dtype=np.int32),
        distinct,
        order[np.frombuffer(versions[1], np.int32)],
        np.zeros(len(partition), dtype=bool) if error_kinds is None else error_kinds.code >= 0,
        dict(
            zip(
                number_sources,
                np.frombuffer(numbers, np.float64).reshape(len(number_sources), len(partition)),
                strict=True,
            )
        ),
        text_columns,
        error_kinds,
        shadow if shadow.any() else None,
    )


def _encode(names: Names) -> EncodedNames | None:
    """Encode names as `encode_names` does."""
    values, codes = names
    encoded = encode_names(values)
    if encoded is None:
        return None
    # −1 selects the last entry.
    return EncodedNames(encoded.values, np.append(encoded.code, np.int32(-1))[np.frombuffer(codes, np.int32)])


def text_array(column: Texts) -> pa.Array:
    """Build an Arrow array of texts from the library's buffers."""
    offsets, characters, validity = column
    buffers = [None if validity is None else pa.py_buffer(validity), pa.py_buffer(offsets), pa.py_buffer(characters)]
    return pa.Array.from_buffers(pa.string(), len(offsets) // 4 - 1, buffers)
