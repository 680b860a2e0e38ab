"""Reads the recent events of a model from ClickHouse, in the form of the publisher."""

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract
from barograph.contract.model import FieldType

from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import EventTables
from barograph_server.drills.faults.fault import with_plain_columns
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history.recorded_events import (
    effective_labels,
    newest_prediction,
    recorded_predictions,
    recorded_versions,
)

MAX_EVENTS = 5_000_000
"""Most predictions of a drill, which all have to fit into memory."""
_TIME = pa.timestamp("ms", "UTC")


def newest_event(client: Client, model: str) -> datetime:
    newest = newest_prediction(client, model)
    if newest is None:
        raise DrillError(
            f"ClickHouse at {client.where} has no raw predictions of {model}: set raw_share in its contract, or give "
            "recorded events with --from."
        )
    return newest


def read_events(
    client: Client, contract: Contract, version: str | None, since: datetime, until: datetime
) -> tuple[str, EventTables]:
    """Read the predictions of one version in a range of event time, and their labels.

    Args:
        version: the version; None for the one with the most predictions in the range.

    Returns:
        The version, and its events in order of time.
    """
    model = contract.model
    by_version = recorded_versions(client, model, since, until)
    if not by_version:
        raise DrillError(
            f"ClickHouse at {client.where} has no raw predictions of {model} from {since:%Y-%m-%d %H:%M} to "
            f"{until:%Y-%m-%d %H:%M} UTC; choose another --until or --history, or give recorded events with --from."
        )
    if version is not None and version not in by_version:
        raise DrillError(
            f"ClickHouse at {client.where} has no raw predictions of {model} version {version}; there are "
            f"{', '.join(by_version)}."
        )
    version = version or next(iter(by_version))
    if by_version[version] > MAX_EVENTS:
        raise DrillError(
            f"{by_version[version]:,} predictions of {model} are in the range, and a drill reads at most "
            f"{MAX_EVENTS:,}; shorten it with --history."
        )
    predictions = _read_predictions(client, contract, version, since, until)
    return version, EventTables(predictions, _read_labels(client, contract, predictions, since))


def _read_predictions(client: Client, contract: Contract, version: str, since: datetime, until: datetime) -> pa.Table:
    types: dict[str, FieldType | None] = dict.fromkeys(contract.sources)
    types |= {field.source: field.type for field in contract.fields}
    fixed = ("score", "class", "arm", "latency_ms", "confidence")
    members = {source: kind for source, kind in types.items() if source not in fixed}
    rows = recorded_predictions(client, contract.model, version, members, since, until)
    columns = {name: _typed(rows[name], types[name]) if name in members else rows[name] for name in rows.column_names}
    columns = {name: column for name, column in columns.items() if column.null_count < len(column) or name in types}
    return with_plain_columns(pa.table(columns)).append_column("version", pa.array([version] * rows.num_rows))


def _typed(column: pa.ChunkedArray, kind: FieldType | None) -> pa.ChunkedArray:
    """Convert numbers to the type of the field, as events have it."""
    if kind == "bool":
        return pc.not_equal(column, 0.0)
    if kind == "timestamp":
        return column.cast(pa.int64(), safe=False)
    if kind == "int" and pc.all(pc.equal(column, pc.floor(column))).as_py() is not False:
        return column.cast(pa.int64())
    return column.cast(pa.string()) if kind in (None, "category") else column


def _read_labels(client: Client, contract: Contract, predictions: pa.Table, since: datetime) -> pa.Table:
    """Read the effective labels of predictions, in order of time, with the type of the contract."""
    kinds = {"bool": pa.bool_(), "category": pa.string(), "float": pa.float64()}
    if contract.label is None:
        return no_labels()
    rows = effective_labels(client, contract.model, since)
    rows = rows.filter(pc.is_in(rows["id"], value_set=predictions["id"].combine_chunks()))
    text = rows["label"].cast(pa.string())
    label = text if contract.label.type == "category" else text.cast(kinds[contract.label.type])
    return pa.table({"id": rows["id"].cast(pa.string()), "label": label, "at": rows["at"].cast(_TIME)})


def no_labels() -> pa.Table:
    return pa.table({"id": pa.array([], pa.string()), "label": pa.array([], pa.string()), "at": pa.array([], _TIME)})
