"""Which events of a model are recorded, and what a raw row is put together from.

A prediction is recorded when the sketcher counts it: the same decoders judge both. Of these the contract's
`raw` share is kept, chosen by a hash of the id, so that every version and shadow of a request shares its fate and
reading again decides the same. Labels are always kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.events.batch import MessageBatch
from streams.events.projection import slice_sources
from streams.recorder.values import MAX_UNKNOWN
from streams.registry.registry import Registry
from warehouse.tables import MILLIS, SCHEMAS

FEATURES = "features."


@dataclass(frozen=True, slots=True)
class RawModel:
    """What recording a model's predictions depends on."""

    model: str
    share: float
    numbers: tuple[str, ...]
    """Features that the contract watches as numbers or flags,"""
    texts: tuple[str, ...]
    """… as categories,"""
    others: tuple[str, ...]
    """… as times, or that it only slices by."""
    ignored: tuple[str, ...]
    """Features that it ignores for a reason."""
    known: frozenset[str]
    """All of these: every other feature is recorded too, and counted as unknown."""
    order: tuple[str, ...]
    """The same as the contract names them, which is likely as events hold them, those that are ignored last. A decoder
    finds a member at once that comes where it is expected."""
    numeric: frozenset[str]
    """Features whose values are numbers, flags or times: `NaN` is a number there, and a text elsewhere."""

    @property
    def line(self) -> float:
        """Predictions are kept whose id's hash is below this."""
        return self.share * 2**32

    def keep(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Choose the predictions to keep by their ids, as a mask of shape (n,)."""
        if self.share >= 1:
            return np.ones(len(ids), dtype=bool)
        kept: NDArray[np.bool_] = hashes(ids) < self.line
        return kept


def hashes(ids: Sequence[str]) -> NDArray[np.uint32]:
    """What decides of each of n predictions whether it is kept, shape (n,)."""
    return np.fromiter(map(zlib.crc32, map(str.encode, ids)), dtype=np.uint32, count=len(ids))


def raw_models(registry: Registry) -> dict[str, RawModel]:
    """Gather what recording depends on for every model that has a contract."""
    found = {}
    for model, contract in registry.contracts.items():
        types = {feature_of(field.source): field.type for field in contract.fields if feature_of(field.source)}
        watched = types.keys() | set(filter(None, map(feature_of, slice_sources(registry, contract))))
        numbers = {name for name, kind in types.items() if kind in ("float", "int", "bool")}
        texts = {name for name, kind in types.items() if kind == "category"}
        ignored = set(contract.ignored) - watched
        found[model] = RawModel(
            model,
            contract.raw_share,
            tuple(sorted(numbers)),
            tuple(sorted(texts)),
            tuple(sorted(watched - numbers - texts)),
            tuple(sorted(ignored)),
            frozenset(watched | ignored),
            (*types, *sorted(watched - types.keys()), *sorted(ignored)),
            frozenset(types.keys() - texts),
        )
    return found


def feature_of(source: str) -> str:
    """The feature that a source names; empty where it names none."""
    return source.removeprefix(FEATURES) if source.startswith(FEATURES) else ""


def positions(batch: MessageBatch, chosen: NDArray[np.int64], index: NDArray[np.int32] | None = None) -> dict[str, Any]:
    """The columns that say where the events of some messages stood.

    Args:
        batch: the messages.
        chosen: each event's message, as a position in the batch.
        index: each event's place in its message; 0 by default.
    """
    return {
        "partition": pa.array(batch.partition[chosen].astype(np.uint16)),
        "offset": pa.array(batch.offset[chosen].astype(np.uint64)),
        "message_index": pa.array(np.zeros(len(chosen), np.uint32) if index is None else index.astype(np.uint32)),
        "received_at": times(batch.received_ms[chosen]),
    }


def times(unix_ms: NDArray[np.int64]) -> pa.Array:
    """Unix milliseconds as a column of times."""
    return pa.array(unix_ms).cast(MILLIS)


def unknown(n: int, counts: Iterable[NDArray[np.int64]]) -> pa.Array:
    """Add up how many members of each event, n of them, were passed over."""
    total = np.zeros(n, dtype=np.int64)
    for count in counts:
        total += count
    return pa.array(np.minimum(total, MAX_UNKNOWN).astype(np.uint16))


def rows_of(table: str, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Put rows of a raw table together; the epoch is added when they are written."""
    return pa.table([_as_sent(columns[field.name], field.type) for field in RAW_SCHEMAS[table]], RAW_SCHEMAS[table])


def _as_sent(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return column.dictionary_encode() if kind == CODED and column.type != CODED else column


def _without_epoch(schema: pa.Schema, coded: Collection[str] = ()) -> pa.Schema:
    fields = [
        field.with_type(_coded(field.type)) if field.name in coded else field
        for field in schema
        if field.name != "epoch"
    ]
    return pa.schema(fields)


def _coded(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_map(kind):
        return pa.map_(CODED, kind.item_type)
    return pa.list_(CODED) if pa.types.is_list(kind) else CODED


CODED: Final = pa.dictionary(pa.int32(), pa.string())
"""Text that repeats itself, keys above all: each distinct one is held and sent once, and a number for each that is."""
_REPEATED = ("model", "version", "arm", "class", "status", "error", "producer")
_MAPS = ("context", "numbers", "strings", "nulls", "scores", "metrics")
RAW_SCHEMAS = {
    "predictions": _without_epoch(SCHEMAS["predictions"], (*_REPEATED, *_MAPS)),
    "labels": _without_epoch(SCHEMAS["labels"]),
}
