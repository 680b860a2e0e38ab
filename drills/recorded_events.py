"""Reads the recent events of a model from ClickHouse, in the form of the publisher."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract
from barograph.contract.model import FieldType

from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import EventTables
from barograph_server.drills.faults.fault import with_plain_columns
from barograph_server.warehouse.client import Client

MAX_EVENTS = 5_000_000
"""Most predictions of a drill, which all have to fit into memory."""
_TIME = pa.timestamp("ms", "UTC")


def newest_event(client: Client, model: str) -> datetime:
    """Return the event time of the newest prediction of a model.

    Raises:
        DrillError: there are no raw rows.
    """
    ((newest, n),) = client.rows(
        "SELECT max(at), count() FROM predictions WHERE model = {model:String}", {"model": model}
    )
    if not n:
        raise DrillError(
            f"ClickHouse at {client.where} has no raw predictions of {model}: set raw_share in its contract, or give "
            "recorded events with --from."
        )
    return cast(datetime, newest)


def read_events(
    client: Client, contract: Contract, version: str | None, since: datetime, until: datetime
) -> tuple[str, EventTables]:
    """Read the predictions of one version in a range of event time, and their labels.

    Args:
        client: the warehouse of the model.
        contract: its contract.
        version: the version; None for the one with the most predictions in the range.
        since: first event time of the range.
        until: its end, which is not part of it.

    Returns:
        The version, and its events in order of time.

    Raises:
        DrillError: there are no raw rows in the range, or too many.
    """
    model = contract.model
    counts = client.rows(
        "SELECT version, count() AS n FROM all_predictions WHERE model = {model:String} "
        "AND at >= {since:DateTime64(3)} AND at < {until:DateTime64(3)} GROUP BY version ORDER BY n DESC, version",
        {"model": model, "since": since, "until": until},
    )
    by_version = {name: n for name, n in counts}
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
    members = [source for source in types if source not in fixed]
    parameters: dict[str, Any] = {"model": contract.model, "version": version, "since": since, "until": until}
    selected = []
    for i, source in enumerate(members):
        map_name, _, name = source.partition(".")
        parameters[f"m{i}"] = name
        selected.append(f"{_expression(map_name, types[source], f'{{m{i}:String}}')} AS c{i}")
    rows = client.arrow(
        "SELECT id, at, nullIf(arm, '') AS arm, if(isNaN(score), NULL, score) AS score, nullIf(class, '') AS class, "  # noqa: S608
        "if(isNaN(latency_ms), NULL, latency_ms) AS latency_ms, nullIf(status, '') AS status, "
        f"nullIf(error, '') AS error{''.join(f', {each}' for each in selected)} FROM all_predictions "
        "WHERE model = {model:String} AND version = {version:String} AND at >= {since:DateTime64(3)} "
        "AND at < {until:DateTime64(3)} ORDER BY at, id",
        parameters,
    )
    columns = {name: rows[name] for name in rows.column_names[:8]}
    columns |= {source: _typed(rows[f"c{i}"], types[source]) for i, source in enumerate(members)}
    columns = {name: column for name, column in columns.items() if column.null_count < len(column) or name in types}
    return with_plain_columns(pa.table(columns)).append_column("version", pa.array([version] * rows.num_rows))


def _expression(map_name: str, kind: FieldType | None, name: str) -> str:
    """Return the SQL of one member of a map; NULL if an event lacks it."""
    if map_name == "context":
        return f"if(mapContains(context, {name}), context[{name}], NULL)"
    if map_name in ("scores", "metrics"):
        return f"{map_name}[{name}]"
    if kind is None or kind == "category":
        return f"if(mapContains(strings, {name}), strings[{name}], NULL)"
    if kind == "timestamp":
        # A timestamp is a number (epoch milliseconds) or text.
        text = f"toFloat64(toUnixTimestamp64Milli(parseDateTime64BestEffortOrNull(strings[{name}], 3)))"
        return f"coalesce(numbers[{name}], {text})"
    return f"numbers[{name}]"


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
    rows = client.arrow(
        "SELECT id, argMax(label, (at, offset)) AS label, max(at) AS latest FROM labels "
        "WHERE model = {model:String} AND at >= {since:DateTime64(3)} GROUP BY id ORDER BY latest, id",
        {"model": contract.model, "since": since},
    )
    rows = rows.rename_columns(["id", "label", "at"])
    rows = rows.filter(pc.is_in(rows["id"], value_set=predictions["id"].combine_chunks()))
    text = rows["label"].cast(pa.string())
    label = text if contract.label.type == "category" else text.cast(kinds[contract.label.type])
    return pa.table({"id": rows["id"].cast(pa.string()), "label": label, "at": rows["at"].cast(_TIME)})


def no_labels() -> pa.Table:
    """Return a table of labels without rows."""
    return pa.table({"id": pa.array([], pa.string()), "label": pa.array([], pa.string()), "at": pa.array([], _TIME)})
