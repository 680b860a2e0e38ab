"""Column-wise inserts: the Arrow schema of each table, and how columns become one insert.

Arrow goes over the wire as it lies in memory, so an insert costs no Python per row. A batch may be inserted
again after `WarehouseBusy`: rows of one key replace each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from warehouse.client import Client, WarehouseError

TEXT = pa.string()
MILLIS = pa.timestamp("ms", tz="UTC")
SECONDS = pa.timestamp("s", tz="UTC")
U16, U32, U64 = pa.uint16(), pa.uint32(), pa.uint64()
NUMBER = pa.float64()
TEXT_MAP = pa.map_(TEXT, TEXT)
NUMBER_MAP = pa.map_(TEXT, NUMBER)

_PANES = pa.schema(
    {
        "partials_partition": U16,
        "model": TEXT,
        "version": TEXT,
        "baseline_id": TEXT,
        "slice": TEXT,
        "field": TEXT,
        "pane_start": SECONDS,
        "pane_s": U32,
        "n": U64,
        "nulls": U64,
        "invalid": U64,
        "below": U64,
        "above": U64,
        "unseen": U64,
        "counts": pa.large_list(U64),
        "shift_sum": NUMBER,
        "shift_square_sum": NUMBER,
        "minimum": NUMBER,
        "maximum": NUMBER,
        "sketch": pa.binary(),
        "sealed": pa.bool_(),
        "record_seq": U64,
    }
)

SCHEMAS: dict[str, pa.Schema] = {
    "predictions": pa.schema(
        {
            "partition": U16,
            "offset": U64,
            "idx": U32,
            "epoch": U16,
            "model": TEXT,
            "version": TEXT,
            "id": TEXT,
            "at": MILLIS,
            "received_at": MILLIS,
            "arm": TEXT,
            "context": TEXT_MAP,
            "numbers": NUMBER_MAP,
            "strings": TEXT_MAP,
            "nulls": pa.list_(TEXT),
            "score": NUMBER,
            "class": TEXT,
            "scores": NUMBER_MAP,
            "metrics": NUMBER_MAP,
            "latency_ms": NUMBER,
            "status": TEXT,
            "error": TEXT,
            "producer": TEXT,
            "seq": pa.int64(),
            "unknown": U16,
        }
    ),
    "labels": pa.schema(
        {
            "partition": U16,
            "offset": U64,
            "idx": U32,
            "epoch": U16,
            "model": TEXT,
            "id": TEXT,
            "label": TEXT,
            "label_type": TEXT,
            "at": MILLIS,
            "received_at": MILLIS,
        }
    ),
    "panes": _PANES,
    "rollups": _PANES,
    "new_categories": pa.schema(
        {
            "model": TEXT,
            "version": TEXT,
            "baseline_id": TEXT,
            "field": TEXT,
            "category": TEXT,
            "pane_start": SECONDS,
            "pane_s": U32,
            "n_low": U64,
            "n_high": U64,
            "record_seq": U64,
        }
    ),
    "volume": pa.schema(
        {
            "partials_partition": U16,
            "model": TEXT,
            "version": TEXT,
            "baseline_id": TEXT,
            "slice": TEXT,
            "pane_start": SECONDS,
            "pane_s": U32,
            "n": U64,
            "errors": U64,
            "timed": U64,
            "slow": U64,
            "late": U64,
            "sealed": pa.bool_(),
            "unregistered": pa.bool_(),
            "record_seq": U64,
        }
    ),
    "errors": pa.schema(
        {
            "partials_partition": U16,
            "model": TEXT,
            "version": TEXT,
            "baseline_id": TEXT,
            "slice": TEXT,
            "kind": TEXT,
            "pane_start": SECONDS,
            "pane_s": U32,
            "n": U64,
            "record_seq": U64,
        }
    ),
    "producers": pa.schema(
        {
            "partials_partition": U16,
            "model": TEXT,
            "producer": TEXT,
            "pane_start": SECONDS,
            "pane_s": U32,
            "n": U64,
            "first_seq": pa.int64(),
            "last_seq": pa.int64(),
            "record_seq": U64,
        }
    ),
    "dead_counts": pa.schema(
        {
            "partials_partition": U16,
            "topic": TEXT,
            "model": TEXT,
            "reason": TEXT,
            "hour": SECONDS,
            "n": U64,
            "record_seq": U64,
        }
    ),
    "violations": pa.schema(
        {
            "partials_partition": U16,
            "model": TEXT,
            "version": TEXT,
            "baseline_id": TEXT,
            "field": TEXT,
            "kind": TEXT,
            "pane_start": SECONDS,
            "pane_s": U32,
            "n": U64,
            "of": U64,
            "policy": TEXT,
            "record_seq": U64,
        }
    ),
    "drift": pa.schema(
        {
            "model": TEXT,
            "version": TEXT,
            "baseline_id": TEXT,
            "slice": TEXT,
            "field": TEXT,
            "window": TEXT,
            "window_start": SECONDS,
            "window_end": SECONDS,
            "n": U64,
            "psi": NUMBER,
            "psi_low": NUMBER,
            "psi_high": NUMBER,
            "js": NUMBER,
            "p_value": NUMBER,
            "q_value": NUMBER,
            "df": U16,
            "phi": NUMBER,
            "season": TEXT,
            "level": TEXT,
            "threshold_minor": NUMBER,
            "threshold_major": NUMBER,
            "top_bin": TEXT,
            "top_bin_index": pa.int32(),
            "expected_share": NUMBER,
            "actual_share": NUMBER,
            "visible_shift": NUMBER,
            "completeness": NUMBER,
            "judged_at": MILLIS,
            "record_seq": U64,
        }
    ),
    "distances": pa.schema(
        {
            "model": TEXT,
            "version": TEXT,
            "baseline_id": TEXT,
            "slice": TEXT,
            "field": TEXT,
            "window": TEXT,
            "window_start": SECONDS,
            "window_end": SECONDS,
            "n": U64,
            "phi": NUMBER,
            "ks": NUMBER,
            "ks_error": NUMBER,
            "ks_threshold": NUMBER,
            "ks_rejects": pa.bool_(),
            "w1": NUMBER,
            "mean": NUMBER,
            "mean_shift": NUMBER,
            "mean_shift_low": NUMBER,
            "mean_shift_high": NUMBER,
            "std_ratio": NUMBER,
            "std_ratio_low": NUMBER,
            "std_ratio_high": NUMBER,
            "p05": NUMBER,
            "p25": NUMBER,
            "p50": NUMBER,
            "p75": NUMBER,
            "p95": NUMBER,
            "p99": NUMBER,
            "completeness": NUMBER,
            "judged_at": MILLIS,
            "record_seq": U64,
        }
    ),
    "rates": pa.schema(
        {
            "model": TEXT,
            "version": TEXT,
            "baseline_id": TEXT,
            "slice": TEXT,
            "field": TEXT,
            "kind": TEXT,
            "window": TEXT,
            "window_start": SECONDS,
            "window_end": SECONDS,
            "n": U64,
            "k": U64,
            "rate": NUMBER,
            "baseline_rate": NUMBER,
            "delta": NUMBER,
            "delta_low": NUMBER,
            "delta_high": NUMBER,
            "p_value": NUMBER,
            "phi": NUMBER,
            "level": TEXT,
            "threshold_minor": NUMBER,
            "threshold_major": NUMBER,
            "completeness": NUMBER,
            "judged_at": MILLIS,
            "record_seq": U64,
        }
    ),
    "comparisons": pa.schema(
        {
            "model": TEXT,
            "kind": TEXT,
            "left": TEXT,
            "right": TEXT,
            "field": TEXT,
            "measure": TEXT,
            "category": TEXT,
            "window": TEXT,
            "window_start": SECONDS,
            "window_end": SECONDS,
            "n_left": U64,
            "n_right": U64,
            "left_value": NUMBER,
            "right_value": NUMBER,
            "difference": NUMBER,
            "difference_low": NUMBER,
            "difference_high": NUMBER,
            "p_value": NUMBER,
            "df": NUMBER,
            "phi_left": NUMBER,
            "phi_right": NUMBER,
            "level": TEXT,
            "threshold_minor": NUMBER,
            "threshold_major": NUMBER,
            "top_bin": TEXT,
            "source": TEXT,
            "completeness": NUMBER,
            "judged_at": MILLIS,
            "record_seq": U64,
        }
    ),
    "arm_ratios": pa.schema(
        {
            "model": TEXT,
            "unit": TEXT,
            "since": MILLIS,
            "at": MILLIS,
            "arm": TEXT,
            "expected_share": NUMBER,
            "units": U64,
            "share": NUMBER,
            "crossed": U64,
            "unitless": U64,
            "p_value": NUMBER,
            "level": TEXT,
        }
    ),
    "baselines": pa.schema(
        {
            "model": TEXT,
            "version": TEXT,
            "baseline_id": TEXT,
            "effective_from": SECONDS,
            "body": TEXT,
            "reason": TEXT,
            "accepted_at": MILLIS,
        }
    ),
    "contracts": pa.schema({"model": TEXT, "contract_id": TEXT, "yaml": TEXT, "applied_at": MILLIS}),
    "offset_ledger": pa.schema(
        {
            "partials_partition": U16,
            "source_partition": U16,
            "end_offset": U64,
            "watermarks": pa.map_(TEXT, pa.int64()),
            "last_event_at": MILLIS,
            "partitions": U16,
            "counted_at": MILLIS,
            "source_topic_id": TEXT,
            "partials_topic_id": TEXT,
            "epoch": U16,
            "record_seq": U64,
        }
    ),
    "progress": pa.schema(
        {
            "partials_partition": U16,
            "model": TEXT,
            "watermark": MILLIS,
            "sealed_until": MILLIS,
            "updated_at": MILLIS,
            "record_seq": U64,
        }
    ),
    "losses": pa.schema(
        {
            "partials_partition": U16,
            "source_partition": U16,
            "start_offset": U64,
            "end_offset": U64,
            "from_time": MILLIS,
            "to_time": MILLIS,
            "reason": TEXT,
            "recorded_at": MILLIS,
            "record_seq": U64,
        }
    ),
    "processors": pa.schema(
        {
            "kind": TEXT,
            "instance": TEXT,
            "at": MILLIS,
            "host": TEXT,
            "pid": U32,
            "started_at": MILLIS,
            "lag": pa.int64(),
            "events": U64,
            "rate": NUMBER,
            "retries": U64,
            "dead_letters": U64,
            "last_commit_at": MILLIS,
            "details": pa.map_(TEXT, NUMBER),
        }
    ),
    "processor_metrics": pa.schema(
        {
            "metric": TEXT,
            "kind": TEXT,
            "instance": TEXT,
            "started_at": MILLIS,
            "since": SECONDS,
            "low": NUMBER,
            "high": NUMBER,
        }
    ),
    "performance": pa.schema(
        {
            "model": TEXT,
            "version": TEXT,
            "slice": TEXT,
            "metric": TEXT,
            "class": TEXT,
            "window": TEXT,
            "window_start": SECONDS,
            "window_end": SECONDS,
            "value": NUMBER,
            "low": NUMBER,
            "high": NUMBER,
            "enough": pa.bool_(),
            "n": U64,
            "predictions": U64,
            "coverage": NUMBER,
            "maturity": NUMBER,
            "mature": pa.bool_(),
            "level": TEXT,
            "promise": NUMBER,
            "reference": NUMBER,
            "difference": NUMBER,
            "difference_low": NUMBER,
            "difference_high": NUMBER,
            "selective": pa.bool_(),
            "selective_p": NUMBER,
            "corrected": NUMBER,
            "corrected_low": NUMBER,
            "corrected_high": NUMBER,
            "cbpe": NUMBER,
            "cbpe_low": NUMBER,
            "cbpe_high": NUMBER,
            "cbpe_error": NUMBER,
            "raw_share": NUMBER,
            "revised_at": MILLIS,
            "revision": U32,
        }
    ),
    "performance_reference": pa.schema(
        {
            "model": TEXT,
            "version": TEXT,
            "basis": TEXT,
            "slice": TEXT,
            "age_s": U32,
            "from_time": SECONDS,
            "until_time": SECONDS,
            "predictions": U64,
            "labelled": U64,
            "confusion": pa.large_list(U64),
            "bins": pa.list_(pa.int32()),
            "bin_predictions": pa.large_list(U64),
            "bin_scores": pa.list_(NUMBER),
            "bin_labelled": pa.large_list(U64),
            "bin_labelled_scores": pa.list_(NUMBER),
            "bin_positives": pa.large_list(U64),
            "sums": pa.list_(NUMBER),
            "frozen_at": MILLIS,
        }
    ),
    "maturity": pa.schema(
        {
            "model": TEXT,
            "basis": TEXT,
            "ages_s": pa.list_(NUMBER),
            "shares": pa.list_(NUMBER),
            "shares_low": pa.list_(NUMBER),
            "shares_high": pa.list_(NUMBER),
            "coverage": NUMBER,
            "mature_age_s": NUMBER,
            "predictions": U64,
            "labels": U64,
            "learned_at": MILLIS,
        }
    ),
    "scorer_checkpoints": pa.schema(
        {"topic": TEXT, "epoch": U16, "partition": U16, "offset": U64, "marked_at": MILLIS}
    ),
    "scorer_models": pa.schema(
        {
            "model": TEXT,
            "state": TEXT,
            "reason": TEXT,
            "basis": TEXT,
            "kind": TEXT,
            "raw_share": NUMBER,
            "newest_at": MILLIS,
            "scored_until": MILLIS,
            "updated_at": MILLIS,
        }
    ),
    "topics": pa.schema({"name": TEXT, "topic_id": TEXT, "partitions": U16, "recorded_at": MILLIS}),
}
"""Per table its columns, in order, with the Arrow type that they are sent as.

Times are timestamps in UTC: whole seconds for `DateTime`, milliseconds for `DateTime64(3)`. Wherever a type
is `string`, keys of maps and members of lists too, dictionary-encoded ones are taken as well and sent as they are.
"""


def insert_arrow(client: Client, table: str, rows: pa.Table) -> None:
    """Insert an Arrow table that holds every column of the table's schema; others are refused.

    Columns are cast where they differ in type and no value is lost by it, such as int64 to uint16.
    Dictionary-encoded text is sent as it is.

    Raises:
        WarehouseError: columns are missing or unknown, or a value does not fit.
        WarehouseBusy: ClickHouse cannot take them now: insert the same again.
    """
    insert_columns(client, table, dict(zip(rows.schema.names, rows.columns, strict=True)))


def insert_columns(client: Client, table: str, columns: Mapping[str, Any]) -> None:
    """Insert columns of equal length: numpy arrays, lists or Arrow arrays.

    Args:
        client: where to.
        table: a key of `SCHEMAS`.
        columns: every column of its schema. Times may be integers (epoch seconds or milliseconds, as the
            schema says), `datetime64` or aware datetimes; a map is a mapping or a list of pairs; arrays of
            counts come from `ragged`.

    Raises:
        WarehouseError: columns are missing, unknown or of unequal length, or a value does not fit.
        WarehouseBusy: ClickHouse cannot take them now: insert the same again.
    """
    client.insert(table, table_of(table, columns))


def insert_rows(client: Client, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert a few rows given as mappings (many are better built as columns); raises as `insert_columns`."""
    if rows:
        insert_columns(client, table, {name: [row[name] for row in rows] for name in rows[0]})


def table_of(table: str, columns: Mapping[str, Any]) -> pa.Table:
    """Give columns the table's types. Raises WarehouseError as `insert_columns`."""
    schema = SCHEMAS[table]
    missing, unknown = set(schema.names) - set(columns), set(columns) - set(schema.names)
    if missing or unknown:
        raise WarehouseError(
            f"An insert into {table} needs each of its columns once: missing {sorted(missing)}, "
            f"unknown {sorted(unknown)}."
        )
    fields, arrays = [], []
    for field in schema:
        try:
            array = _array(columns[field.name], field.type)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise WarehouseError(
                f"A value for column {field.name} of {table} does not fit {field.type}: {error}"
            ) from error
        fields.append(pa.field(field.name, array.type))
        arrays.append(array)
    lengths = {len(array) for array in arrays}
    if len(lengths) > 1:
        by_name = {field.name: len(array) for field, array in zip(fields, arrays, strict=True)}
        raise WarehouseError(f"The columns for {table} differ in length: {by_name}.")
    return pa.table(arrays, schema=pa.schema(fields))


def ragged(values: NDArray[np.int64 | np.uint64], offsets: NDArray[np.int64]) -> pa.LargeListArray:
    """Build a column of arrays without copying: row i is `values[offsets[i]:offsets[i + 1]]`.

    Args:
        values: shape (total,), never negative.
        offsets: shape (rows + 1,), ascending, from 0 to total.
    """
    return pa.LargeListArray.from_arrays(pa.array(offsets, type=pa.int64()), pa.array(values.view(np.uint64), type=U64))


def _array(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        if _is_sent(values.type, kind):
            return values
        return values.cast(kind)
    if pa.types.is_timestamp(kind):
        if not isinstance(values, np.ndarray) and all(isinstance(value, int | np.integer) for value in values):
            values = np.asarray(values, dtype=np.int64)
        if isinstance(values, np.ndarray):
            return pa.array(values.astype(f"datetime64[{kind.unit}]").astype(np.int64)).cast(kind)
    if pa.types.is_map(kind):
        values = [list(value.items()) if isinstance(value, Mapping) else value for value in values]
    return pa.array(values, type=kind)


def _is_sent(given: pa.DataType, kind: pa.DataType) -> bool:
    """Whether a column is sent as it is: of its type, or with texts that are dictionary-encoded."""
    if pa.types.is_map(given) and pa.types.is_map(kind):
        return _is_sent(given.key_type, kind.key_type) and _is_sent(given.item_type, kind.item_type)
    if pa.types.is_list(given) and pa.types.is_list(kind):
        return _is_sent(given.value_type, kind.value_type)
    return bool(given == kind or (pa.types.is_dictionary(given) and given.value_type == TEXT and kind == TEXT))
