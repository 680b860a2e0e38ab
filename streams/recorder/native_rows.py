"""JSON predictions → raw rows by the optional library `barograph_native`.

It accepts only events whose members are all known to the format, with values that need no conversion beyond that of
flags and whole numbers. `JsonRows` reads all others in Python, with the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.events import CONTEXT, FEATURES

from barograph_server.streams.events import native_reader
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.hashed_values import NOT_HASHED, replace_plain_values
from barograph_server.streams.events.native_reader import MEMBERS, make_reader, text_array
from barograph_server.streams.recorder.rows import (
    RecordedModel,
    build_table,
    position_columns,
    shadow_column,
    time_column,
    unknown_column,
)
from barograph_server.warehouse.tables import constant_column, dictionary_column

if TYPE_CHECKING or native_reader.VERSION is not None:
    import barograph_native

if TYPE_CHECKING:
    from barograph_native import Columns, JsonReader, Maps, ModelSpec, Names

_LABELS: Final = ("arm", "class", "status")
_NAMES: Final = ("version", "error", "producer", *_LABELS)
"""Text columns, in the order of the library."""
_NUMBERS: Final = ("score", "latency_ms")
_MAPS: Final = {"features": "features", "context": "texts", "scores": "numbers", "metrics": "numbers"}
"""The maps of an event, each with what it holds in the library's words."""


class NativeRows:
    """Reads the plain events of all models; those that the sampling drops give no row."""

    def __init__(self, models: Mapping[str, RecordedModel], retention_ms: int) -> None:
        self._models = list(models.values())
        self._make = partial(make_reader, list(map(_spec, self._models)), retention_ms)
        self._reader: JsonReader | None = None
        self._sampler = barograph_native.Sampler({name: model.hash_limit for name, model in models.items()})

    @property
    def panics(self) -> int:
        """Messages that a defect of the library left."""
        return self._sampler.panics + (0 if self._reader is None else self._reader.panics)

    def sample(self, values: Sequence[bytes | None]) -> list[int]:
        """Return the indices of all messages but those that the sampling surely drops."""
        return self._sampler.kept(values)

    def read(self, batch: MessageBatch) -> tuple[list[pa.Table], MessageBatch]:
        """Return the rows of the events that the library accepts, and the other messages."""
        # After a lack of memory, what the reader holds is not used.
        reader, self._reader = self._reader or self._make(), None
        left = reader.add(batch.values, batch.received_ms.tobytes(), 0)
        read = zip(self._models, reader.take(), strict=True)
        tables = [_table(model, columns, batch) for model, columns in read if columns is not None]
        self._reader = reader
        return tables, batch.select(np.array(left, dtype=np.int64))


def _spec(model: RecordedModel) -> ModelSpec:
    members = [("", name, kind) for name, kind in (MEMBERS | _MAPS).items()]
    members += [("", name, "label") for name in _LABELS]
    members += [("", name, "number") for name in _NUMBERS]
    hashed = model.hashed_names(FEATURES)
    members += [(FEATURES, name, "hashed" if name in hashed else "known") for name in model.order]
    members += [(CONTEXT, name, "hashed") for name in sorted(model.hashed_names(CONTEXT))]
    return model.model, members, "", model.hash_limit


def _table(model: RecordedModel, columns: Columns, batch: MessageBatch) -> pa.Table:
    message, at_ms, names, seqs, shadows, numbers, (ids,), maps, unknown = columns
    messages = np.frombuffer(message, np.uint32).astype(np.int64)
    n = len(messages)
    features, strings, nulls, context, scores, metrics = maps
    shadow = np.frombuffer(shadows, np.bool_)
    arrays = position_columns(batch, messages) | dict(zip(_NAMES, map(_labels, names), strict=True))
    arrays |= dict(zip(_NUMBERS, map(pa.array, np.frombuffer(numbers, np.float64).reshape(-1, n)), strict=True))
    arrays |= {
        "model": constant_column(model.model, n),
        "id": text_array(ids),
        "at": time_column(np.frombuffer(at_ms, np.int64)),
        "seq": pa.array(np.frombuffer(seqs, np.int64)),
        "numbers": _numbers(features),
        "strings": _texts(strings, model.hashed_names(FEATURES)),
        "nulls": pa.ListArray.from_arrays(*_keys(nulls)),
        "context": _texts(context, model.hashed_names(CONTEXT)),
        "scores": _numbers(scores),
        "metrics": _numbers(metrics),
        "unknown": unknown_column(n, [np.frombuffer(unknown, np.int64)]),
        "shadow": shadow_column(shadow if shadow.any() else None, n),
    }
    return build_table("predictions", arrays)


def _labels(names: Names) -> pa.DictionaryArray:
    values, codes = names[0], np.frombuffer(names[1], np.int32)
    missing = codes < 0
    if missing.any():
        values, codes = [*values, ""], np.where(missing, len(values), codes)
    return dictionary_column(codes, values)


def _keys(maps: Maps) -> tuple[pa.Array, pa.DictionaryArray]:
    names, ends, codes, _, _ = maps
    return pa.array(np.frombuffer(ends, np.int32)), dictionary_column(np.frombuffer(codes, np.int32), names)


def _numbers(maps: Maps) -> pa.MapArray:
    return pa.MapArray.from_arrays(*_keys(maps), pa.array(np.frombuffer(maps[3], np.float64)))


def _texts(maps: Maps, hashed: frozenset[str]) -> pa.MapArray:
    """Build maps of texts, in which those of hashed names that are no hash are replaced."""
    names, _, codes, _, texts = maps
    items = text_array(texts)
    if hashed:
        mask = pa.array(np.isin(np.frombuffer(codes, np.int32), [i for i, name in enumerate(names) if name in hashed]))
        items = pc.replace_with_mask(items, mask, replace_plain_values(items.filter(mask), NOT_HASHED))
    return pa.MapArray.from_arrays(*_keys(maps), items)
