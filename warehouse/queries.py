"""Queries of the processors: typed rows, or Arrow tables for many rows.

The server binds all values (`{name:Type}`); only names from this file are formatted into SQL.
"""

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

import pyarrow as pa

from barograph_server.warehouse.client import Client, identifier

RowT = TypeVar("RowT")
END_OF_TIME_S = 4_102_444_800
"""The year 2100, after every pane, in Unix seconds."""
PaneTable = Literal["panes", "rollups"]
"""Tables with a row per slice and field: panes, or hourly and daily rollups."""
_STARTS = "model = {model:String} AND pane_start >= {start_s:UInt32} AND pane_start < {end_s:UInt32}"


@dataclass(frozen=True, slots=True)
class ContractRow:
    """The contract in effect of one model."""

    model: str
    contract_id: str
    yaml: str
    applied_at: datetime


@dataclass(frozen=True, slots=True)
class PromotionRow:
    """A change of the serving version of a contract with `promotion: required`, or the removal of that key."""

    model: str
    contract_id: str
    replaced: str
    serving: str
    evidence: str
    override_reason: str
    override_by: str
    applied_at: datetime


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """An applied baseline; `effective_from` is event time."""

    model: str
    version: str
    baseline_id: str
    effective_from: datetime
    body: str
    reason: str
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class TopicRow:
    """A Kafka topic as recorded by `barograph apply`."""

    name: str
    topic_id: str
    partitions: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The ledger entry of a source partition in a partials partition; watermarks are Unix milliseconds by model."""

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


def contracts(client: Client, *, drills: bool = False) -> list[ContractRow]:
    """Read the contract in effect of each model (with `drills`, of drills too), by model name."""
    condition = "" if drills else f"WHERE {NO_DRILLS} "
    return rows_of(
        client, ContractRow, f"FROM contracts FINAL {condition}ORDER BY model, applied_at DESC LIMIT 1 BY model"
    )


def first_applied_ms(client: Client) -> dict[str, int]:
    """Return when each model's first contract was applied, in Unix milliseconds."""
    rows = client.rows("SELECT model, toUnixTimestamp64Milli(min(applied_at)) FROM contracts GROUP BY model")
    return {str(model): int(applied) for model, applied in rows}


def contract_history(client: Client, model: str) -> list[ContractRow]:
    """Read all contracts of a model in the order in which they were applied; the last one is in effect."""
    return rows_of(
        client,
        ContractRow,
        "FROM contracts FINAL WHERE model = {model:String} ORDER BY applied_at, contract_id",
        {"model": model},
    )


def latest_promotions(client: Client) -> list[PromotionRow]:
    """Read the latest promotion of each model, by model name.

    Promotions whose contract was not stored, because `apply` broke off, do not count.
    """
    return rows_of(
        client,
        PromotionRow,
        "FROM promotions FINAL WHERE (model, contract_id, applied_at) IN "
        "(SELECT model, contract_id, applied_at FROM contracts) ORDER BY model, applied_at DESC LIMIT 1 BY model",
    )


def baselines(client: Client, model: str | None = None) -> list[BaselineRow]:
    """Read the baselines of one or all models, per version in the order in which they take effect.

    Of two with equal `effective_from` the later in the list counts.
    """
    return rows_of(
        client,
        BaselineRow,
        f"FROM baselines FINAL {'WHERE model = {model:String} ' if model is not None else ''}"
        "ORDER BY model, version, effective_from, accepted_at",
        {} if model is None else {"model": model},
    )


def has_baseline(client: Client, model: str) -> bool:
    ((n,),) = client.rows("SELECT count() FROM baselines WHERE model = {model:String}", {"model": model})
    return bool(n)


def codebooks(client: Client, codebook_ids: Sequence[str]) -> dict[str, bytes]:
    """Read the files of codebooks by id; an id that is not stored, or whose row is no base64, is left out."""
    files: dict[str, bytes] = {}
    for codebook_id, body in client.rows(
        "SELECT codebook_id, body FROM codebooks FINAL WHERE codebook_id IN {ids:Array(String)}",
        {"ids": list(codebook_ids)},
    ):
        try:
            files[str(codebook_id)] = base64.b64decode(body, validate=True)
        except ValueError:
            continue
    return files


def codebook_ids(client: Client) -> set[str]:
    return {str(codebook_id) for (codebook_id,) in client.rows("SELECT codebook_id FROM codebooks")}


def registry_stamp(client: Client) -> tuple[object, ...]:
    """Return a value that changes when a contract or baseline is applied: cheap to poll, unlike the bodies."""
    return client.rows(
        "SELECT (SELECT (count(), max(applied_at)) FROM contracts FINAL), "
        "(SELECT (count(), max(accepted_at)) FROM baselines FINAL)"
    )[0]


def topics(client: Client) -> list[TopicRow]:
    """Read the topics recorded by `barograph apply`, by name."""
    return rows_of(client, TopicRow, "FROM topics FINAL ORDER BY name")


def offset_ledger(client: Client, partials_partition: int) -> list[LedgerRow]:
    """Read the offset ledger of a partials partition, by source partition; read it before the panes, never after."""
    return rows_of(
        client,
        LedgerRow,
        "FROM offset_ledger FINAL WHERE partials_partition = {partials_partition:UInt16} ORDER BY source_partition",
        {"partials_partition": partials_partition},
    )


def losses(client: Client, partials_partition: int) -> list[LossRow]:
    """Read the losses recorded by a partials partition, by epoch, source partition and offset."""
    return rows_of(
        client,
        LossRow,
        "FROM losses FINAL WHERE partials_partition = {partials_partition:UInt16} "
        "ORDER BY epoch, source_partition, start_offset",
        {"partials_partition": partials_partition},
    )


def panes(client: Client, model: str, start_s: int, end_s: int) -> pa.Table:
    """Read the panes of a model that start in [start_s, end_s), each once in its latest state.

    Returns:
        The columns of the table `panes` in order; rows are unordered. `pane_start` is unsigned Unix seconds,
        `counts` a list of uint64, `sketch` binary.
    """
    return with_binary_sketches(_latest(client, f"panes FINAL WHERE {_STARTS}", model, start_s, end_s))


def rollups(client: Client, model: str, start_s: int, end_s: int, *, pane_s: int = 3600) -> pa.Table:
    """Read the hourly (or, with `pane_s` 86400, the daily) rollups of a model like `panes`."""
    rows = f"rollups FINAL WHERE {_STARTS} AND pane_s = {{pane_s:UInt32}}"
    return with_binary_sketches(_latest(client, rows, model, start_s, end_s, pane_s=pane_s))


def rows_by_start(client: Client, table: PaneTable, model: str, start_s: int, end_s: int) -> list[tuple[int, int]]:
    """Count the rows of `panes`, or the hourly rows of `rollups`, by pane start in [start_s, end_s).

    The count is approximate: superseded rows count until the next merge.

    Returns:
        The pane start (Unix seconds) and the number of rows, by pane start.
    """
    hourly, pane_s = (" AND pane_s = {pane_s:UInt32}", {"pane_s": 3600}) if table == "rollups" else ("", {})
    return client.rows(
        f"SELECT toUnixTimestamp(pane_start) AS at, count() FROM {table} WHERE {_STARTS}{hourly} "
        "GROUP BY at ORDER BY at",
        {"model": model, "start_s": start_s, "end_s": end_s, **pane_s},
    )


def volume(client: Client, model: str, start_s: int, end_s: int) -> pa.Table:
    """Read the volume rows of a model whose pane starts in [start_s, end_s), each once in its latest state.

    Returns:
        The columns of the table `volume` in order; `pane_start` is unsigned Unix seconds.
    """
    return _latest(client, f"volume FINAL WHERE {_STARTS}", model, start_s, end_s)


def sync_replicas(client: Client, *tables: str) -> None:
    """Wait until this replica has all rows of the tables; does nothing without replicas.

    A process calls it before it loads another process's state: a lagging replica would return an old offset ledger.
    """
    replicated = client.rows(
        "SELECT name FROM system.tables WHERE database = {database:String} AND name IN {names:Array(String)} "
        "AND engine LIKE 'Replicated%' ORDER BY name",
        {"database": client.database, "names": tables},
    )
    for (name,) in replicated:
        client.command(f"SYSTEM SYNC REPLICA {identifier(name)} LIGHTWEIGHT")


def rows_of(client: Client, row: type[RowT], tail: str, parameters: Mapping[str, Any] | None = None) -> list[RowT]:
    """Select the columns named by a row class, and build its rows.

    Args:
        row: a dataclass whose fields are columns of the query's source.
        tail: the query, starting at FROM.
    """
    names = [member.name for member in dataclasses.fields(row)]  # type: ignore[arg-type]
    return [row(*values) for values in client.rows(f"SELECT {', '.join(names)} {tail}", parameters)]


def with_binary_sketches(rows: pa.Table) -> pa.Table:
    """Cast the column `sketch` to binary: the engine sends every string as text."""
    index = rows.schema.get_field_index("sketch")
    return rows.set_column(index, "sketch", rows.column(index).cast(pa.binary()))


def _latest(client: Client, rows: str, model: str, start_s: int, end_s: int, **pane_s: int) -> pa.Table:
    return client.arrow(f"SELECT * FROM {rows}", {"model": model, "start_s": start_s, "end_s": end_s, **pane_s})


PREFIX = "drill."
"""Begins the name of each model of a drill; no other model may have such a name."""
NO_DRILLS = f"NOT startsWith(model, '{PREFIX}')"
"""SQL condition on the column `model`."""


def is_drill(model: str) -> bool:
    return model.startswith(PREFIX)
