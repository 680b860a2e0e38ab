"""Named queries of processors and the `status` command: typed rows, or Arrow tables where there are many.

Values are always bound by the server (`{name:Type}`); only names that stand in this file are written into SQL.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pyarrow as pa

from warehouse.client import identifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from warehouse.client import Client

RowT = TypeVar("RowT")
PaneTable = Literal["panes", "rollups"]
"""Tables with a row per slice and field: of panes, or of hours and days."""
_Within = tuple[str, dict[str, Any]]
"""A condition on rows, and what it binds."""


@dataclass(frozen=True, slots=True)
class ContractRow:
    """The contract of one model that is in force."""

    model: str
    contract_id: str
    yaml: str
    applied_at: datetime


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """A baseline that was applied; `effective_from` is event time."""

    model: str
    version: str
    baseline_id: str
    effective_from: datetime
    body: str
    reason: str
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class TopicRow:
    """A Kafka topic as `apply` fixed it."""

    name: str
    topic_id: str
    partitions: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """How far one source partition was read, per partials partition; watermarks are epoch milliseconds by model."""

    partials_partition: int
    source_partition: int
    end_offset: int
    watermarks: dict[str, int]
    last_event_at: datetime
    partitions: int
    counted_at: datetime
    source_topic_id: str
    partials_topic_id: str
    epoch: int
    record_seq: int


@dataclass(frozen=True, slots=True)
class ProgressRow:
    """Until when one model was read and sealed."""

    partials_partition: int
    model: str
    watermark: datetime
    sealed_until: datetime
    updated_at: datetime
    record_seq: int


@dataclass(frozen=True, slots=True)
class LossRow:
    """A range of source offsets whose events are in no pane."""

    partials_partition: int
    source_partition: int
    start_offset: int
    end_offset: int
    epoch: int
    from_time: datetime
    to_time: datetime
    reason: str
    recorded_at: datetime
    record_seq: int


def contracts(client: Client) -> list[ContractRow]:
    """Read the contract in force of each model, by model name."""
    return rows_of(client, ContractRow, "FROM contracts FINAL ORDER BY model, applied_at DESC LIMIT 1 BY model")


def baselines(client: Client, model: str | None = None) -> list[BaselineRow]:
    """Read the baselines of one or every model, per version in the order in which they take effect.

    Of two with one `effective_from` the later in the list counts.
    """
    return rows_of(
        client,
        BaselineRow,
        f"FROM baselines FINAL {'WHERE model = {model:String} ' if model is not None else ''}"
        "ORDER BY model, version, effective_from, accepted_at",
        {} if model is None else {"model": model},
    )


def catalogue_stamp(client: Client) -> tuple[object, ...]:
    """Return a value that changes when a contract or baseline is applied: cheap to poll, unlike the bodies."""
    return client.rows(
        "SELECT (SELECT (count(), max(applied_at)) FROM contracts FINAL), "
        "(SELECT (count(), max(accepted_at)) FROM baselines FINAL)"
    )[0]


def topics(client: Client) -> list[TopicRow]:
    """Read the topics as `apply` fixed them, by name."""
    return rows_of(client, TopicRow, "FROM topics FINAL ORDER BY name")


def offset_ledger(client: Client, partials_partition: int) -> list[LedgerRow]:
    """Read the chain of one partials partition, by source partition: before the panes, never after them."""
    return rows_of(
        client,
        LedgerRow,
        "FROM offset_ledger FINAL WHERE partials_partition = {partials_partition:UInt16} ORDER BY source_partition",
        {"partials_partition": partials_partition},
    )


def progress(client: Client, partials_partition: int) -> list[ProgressRow]:
    """Read the progress of each model of one partials partition, by model."""
    return rows_of(
        client,
        ProgressRow,
        "FROM progress FINAL WHERE partials_partition = {partials_partition:UInt16} ORDER BY model",
        {"partials_partition": partials_partition},
    )


def losses(client: Client, partials_partition: int) -> list[LossRow]:
    """Read the losses that one partials partition recorded, by epoch, source partition and offset."""
    return rows_of(
        client,
        LossRow,
        "FROM losses FINAL WHERE partials_partition = {partials_partition:UInt16} "
        "ORDER BY epoch, source_partition, start_offset",
        {"partials_partition": partials_partition},
    )


def panes(
    client: Client,
    model: str,
    start_s: int,
    end_s: int,
    *,
    version: str | None = None,
    baseline_id: str | None = None,
    sketches: bool = True,
) -> pa.Table:
    """Read the panes of a model that start in [start_s, end_s), each once with its last state.

    Args:
        client: where from.
        model: the model.
        start_s: first pane start, seconds since 1970.
        end_s: first pane start after the range.
        version: one version, or all.
        baseline_id: one baseline, or all.
        sketches: whether to read the column `sketch`; it is most of the bytes.

    Returns:
        The columns of the table `panes` in their order, in no order of rows. `pane_start` is unsigned epoch
        seconds, `counts` a list of uint64, `sketch` binary.
    """
    within = _within(model, start_s, end_s, version=version, baseline_id=baseline_id)
    return _cells(client, "panes", within, sketches=sketches)


def rollups(
    client: Client,
    model: str,
    start_s: int,
    end_s: int,
    *,
    pane_s: int = 3600,
    version: str | None = None,
    baseline_id: str | None = None,
    sketches: bool = True,
) -> pa.Table:
    """Read the hourly (or, with `pane_s` 86400, the daily) roll-ups of a model that start in [start_s, end_s).

    As `panes` does otherwise.
    """
    within = _within(model, start_s, end_s, version=version, baseline_id=baseline_id, pane_s=pane_s)
    return _cells(client, "rollups", within, sketches=sketches)


def rows_by_start(client: Client, table: PaneTable, model: str, start_s: int, end_s: int) -> list[tuple[int, int]]:
    """Count about how many rows `panes`, or `rollups` with its hourly ones, has by pane start in [start_s, end_s).

    Rows that a merge is yet to replace count too.

    Returns:
        Pane start (Unix seconds) and rows, by pane start.
    """
    conditions, parameters = _within(model, start_s, end_s, pane_s=3600 if table == "rollups" else None)
    return client.rows(
        f"SELECT toUnixTimestamp(pane_start) AS at, count() FROM {table} WHERE {conditions} "  # noqa: S608 - as below
        "GROUP BY at ORDER BY at",
        parameters,
    )


def volume(client: Client, model: str, start_s: int, end_s: int, *, version: str | None = None) -> pa.Table:
    """Read the volume rows of a model whose pane starts in [start_s, end_s), each once with its last state.

    Returns:
        The columns of the table `volume` in their order; `pane_start` is unsigned epoch seconds.
    """
    return _table(client, "volume", _within(model, start_s, end_s, version=version))


def sync_replicas(client: Client, *tables: str) -> None:
    """Wait until this server has what others of its cluster wrote to the tables; without replicas do nothing.

    Whoever takes over state from another process calls it before loading: a replica that lags would hand out
    an old offset ledger.
    """
    replicated = client.rows(
        "SELECT name FROM system.tables WHERE database = {database:String} AND name IN {names:Array(String)} "
        "AND engine LIKE 'Replicated%' ORDER BY name",
        {"database": client.database, "names": tables},
    )
    for (name,) in replicated:
        client.command(f"SYSTEM SYNC REPLICA {identifier(name)} LIGHTWEIGHT")


def rows_of(client: Client, row: type[RowT], tail: str, parameters: Mapping[str, Any] | None = None) -> list[RowT]:
    """Select the columns that a row class names, and build its rows.

    Args:
        client: where from.
        row: a dataclass whose members are columns of what `tail` reads.
        tail: the query from FROM on.
        parameters: bound by the server.
    """
    names = [member.name for member in dataclasses.fields(row)]  # type: ignore[arg-type]
    return [row(*values) for values in client.rows(f"SELECT {', '.join(names)} {tail}", parameters)]


def _cells(client: Client, table: PaneTable, within: _Within, *, sketches: bool) -> pa.Table:
    found = _table(client, table, within, without=() if sketches else ("sketch",))
    if not sketches:
        return found
    # Sketches are bytes; the engine sends all of its strings as text.
    index = found.schema.get_field_index("sketch")
    return found.set_column(index, "sketch", found.column(index).cast(pa.binary()))


def _table(client: Client, table: str, within: _Within, *, without: Iterable[str] = ()) -> pa.Table:
    conditions, parameters = within
    columns = f"* EXCEPT ({', '.join(without)})" if without else "*"
    sql = f"SELECT {columns} FROM {table} FINAL WHERE {conditions}"  # noqa: S608 - names of this file
    return client.arrow(sql, parameters)


def _within(
    model: str,
    start_s: int,
    end_s: int,
    *,
    version: str | None = None,
    baseline_id: str | None = None,
    pane_s: int | None = None,
) -> _Within:
    """The condition on rows of a model that start in [start_s, end_s), and what it binds."""
    conditions = ["model = {model:String}", "pane_start >= {start_s:UInt32}", "pane_start < {end_s:UInt32}"]
    parameters: dict[str, Any] = {"model": model, "start_s": start_s, "end_s": end_s}
    for name, value in (("version", version), ("baseline_id", baseline_id)):
        if value is not None:
            conditions.append(f"{name} = {{{name}:String}}")
            parameters[name] = value
    if pane_s is not None:
        conditions.append("pane_s = {pane_s:UInt32}")
        parameters["pane_s"] = pane_s
    return " AND ".join(conditions), parameters
