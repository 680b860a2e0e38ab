"""Sums over panes of production: over a range, and over each of its windows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from barograph_server.sketches.baseline.columns import TAIL_KEYS
from barograph_server.warehouse.client import Client, identifier
from barograph_server.warehouse.queries import rows_of

_RANGE = (
    "model = {model:String} AND version = {version:String} AND baseline_id = {baseline_id:String} "
    "AND pane_start >= {start_s:UInt32} AND pane_start < {end_s:UInt32}"
)


@dataclass(frozen=True, slots=True)
class ServedRange:
    """The predictions of a version that were counted with one baseline."""

    baseline_id: str
    first: datetime
    """Start of the first pane with predictions."""
    last: datetime
    n: int
    partials_partition: int


@dataclass(frozen=True, slots=True)
class PaneRange:
    """The panes of one version and baseline that start in [start_s, end_s)."""

    model: str
    version: str
    baseline_id: str
    start_s: int
    end_s: int

    def parameters(self, **subrange: int) -> dict[str, Any]:
        """Return the query parameters of the range, or of another one from `start_s` to `end_s`."""
        return asdict(self) | subrange


def served(client: Client, model: str, version: str, start_s: int, end_s: int) -> list[ServedRange]:
    """List the baselines with which a version's predictions were counted in panes that start in [start_s, end_s)."""
    return rows_of(
        client,
        ServedRange,
        "FROM (SELECT baseline_id, min(pane_start) AS first, max(pane_start) AS last, sum(n) AS n, "
        "any(partials_partition) AS partials_partition FROM (SELECT baseline_id, pane_start, n, partials_partition "
        "FROM volume FINAL WHERE model = {model:String} AND version = {version:String} AND slice = 'all' AND n > 0 "
        "AND pane_start >= {start_s:UInt32} AND pane_start < {end_s:UInt32}) GROUP BY baseline_id) ORDER BY first",
        {"model": model, "version": version, "start_s": start_s, "end_s": end_s},
    )


def events_of_model(client: Client, panes: PaneRange) -> int:
    """Count the predictions of all versions and baselines of a model in the time of the range, without late ones."""
    [(n,)] = client.rows(
        "SELECT sum(n) - sum(late) FROM volume FINAL WHERE model = {model:String} AND slice = 'all' "
        "AND pane_start >= {start_s:UInt32} AND pane_start < {end_s:UInt32}",
        panes.parameters(),
    )
    return int(n)


def events_by_slice(client: Client, panes: PaneRange) -> dict[str, int]:
    """Count predictions per slice, including failed ones."""
    rows = client.rows(
        f"SELECT slice, sum(n) FROM volume FINAL WHERE {_RANGE} GROUP BY slice ORDER BY slice", panes.parameters()
    )
    return {str(name): int(n) for name, n in rows}


def pane_sums(
    client: Client, panes: PaneRange, *, by_s: Sequence[int] = (), only: str = "", start_s: int, end_s: int
) -> pa.Table:
    """Sum panes that start in [start_s, end_s), per slice and field, and per time bucket if bucket lengths are given.

    Args:
        panes: the version and baseline; the range of `panes` is ignored.
        by_s: bucket lengths in seconds; buckets start at multiples of the length since 1970.
        only: one slice; empty for all.

    Returns:
        Columns `bucket_0` and so on (the number of the bucket, one column per length), `slice`, `field`, `counts`,
        the tail of the counts (`TAIL_KEYS`), and `shift_sum`, `shift_square_sum`, `minimum` and `maximum` of the
        panes that have moments. Rows are unordered.
    """
    names = [f"bucket_{i}" for i in range(len(by_s))]
    buckets = [
        f"intDiv(toUnixTimestamp(pane_start), {int(length)}) AS {n}" for n, length in zip(names, by_s, strict=True)
    ]
    sums = [f"sum({name}) AS total_{name}" for name in TAIL_KEYS]
    moments = [
        f"{aggregate}If({name}, isFinite({name})) AS total_{name}"
        for aggregate, name in (
            ("sum", "shift_sum"),
            ("sum", "shift_square_sum"),
            ("min", "minimum"),
            ("max", "maximum"),
        )
    ]
    keys = [*names, "slice", "field"]
    selected = [*buckets, "slice", "field", "sumForEach(counts) AS total_counts", *sums, *moments]
    slice_condition = " AND slice = {only:String}" if only else ""
    rows = client.arrow(
        f"SELECT {', '.join(selected)} FROM panes FINAL WHERE {_RANGE}{slice_condition} GROUP BY {', '.join(keys)}",
        {**panes.parameters(start_s=start_s, end_s=end_s), **({"only": only} if only else {})},
    )
    return rows.rename_columns([name.removeprefix("total_") for name in rows.column_names])


def sketches(client: Client, table: str, panes: PaneRange, start_s: int, end_s: int) -> list[tuple[str, int, bytes]]:
    """Read the sketches of the slice `all` from `panes`, or from the hourly rows of `rollups`.

    Args:
        table: `panes` or `rollups`.
        start_s: the start of the range of pane starts, Unix seconds.

    Returns:
        The field, start (Unix seconds) and bytes of each sketch, by field and start.
    """
    hourly = " AND pane_s = 3600" if table == "rollups" else ""
    rows = client.arrow(
        f"SELECT field, toUnixTimestamp(pane_start) AS at, sketch FROM {identifier(table)} FINAL "
        f"WHERE {_RANGE} AND slice = 'all' AND sketch != ''{hourly} ORDER BY field, at",
        panes.parameters(start_s=start_s, end_s=end_s),
    )
    data = rows.column("sketch").cast(pa.binary()).to_pylist()
    return list(zip(rows.column("field").to_pylist(), rows.column("at").to_pylist(), data, strict=True))


def field_sketches(
    client: Client, panes: PaneRange, fields: Sequence[str], start_s: int, end_s: int
) -> list[tuple[str, str, int, bytes]]:
    """Read the sketches of some fields in all slices from `panes`.

    Returns:
        The field, slice, start (Unix seconds) and bytes of each sketch, unordered.
    """
    rows = client.arrow(
        "SELECT field, slice, toUnixTimestamp(pane_start) AS at, sketch FROM panes FINAL "
        f"WHERE {_RANGE} AND field IN {{fields:Array(String)}} AND sketch != ''",
        {**panes.parameters(start_s=start_s, end_s=end_s), "fields": list(fields)},
    )
    columns = [rows.column(name).to_pylist() for name in ("field", "slice", "at")]
    return list(zip(*columns, rows.column("sketch").cast(pa.binary()).to_pylist(), strict=True))
