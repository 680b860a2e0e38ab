"""The distribution of one field over any past range, from panes and rollups."""

from dataclasses import dataclass

import pyarrow as pa

from barograph_server.sketches.baseline.columns import COLUMN_KEYS
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import rows_of, with_binary_sketches

SECONDS_PER_HOUR = 3600
SECONDS_PER_DAY = 86_400

_COLUMNS = (
    f"pane_start, pane_s, n, {', '.join(COLUMN_KEYS)}, counts, shift_sum, shift_square_sum, minimum, maximum, sketch, "
    "sealed"
)
_SERIES = (
    "model = {model:String} AND version = {version:String} AND baseline_id = {baseline_id:String} "
    "AND slice = {slice:String} AND field = {field:String}"
)
_DAYS = (
    f"rollups FINAL WHERE {_SERIES} AND pane_s = 86400 "
    "AND pane_start >= {first_day_s:UInt32} AND pane_start < {last_day_s:UInt32}"
)
_HOURS = (
    f"rollups FINAL WHERE {_SERIES} AND pane_s = 3600 "
    "AND pane_start >= {first_hour_s:UInt32} AND pane_start < {last_hour_s:UInt32}"
)
_PANES = (
    f"panes FINAL WHERE {_SERIES} "
    "AND pane_start < {end_s:UInt32} AND toUInt32(pane_start) + pane_s > {start_s:UInt32}"
)
_NOT_IN_DAYS = f"toUInt32(toStartOfDay(pane_start)) NOT IN (SELECT toUInt32(pane_start) FROM {_DAYS})"
_NOT_IN_HOURS = f"toUInt32(toStartOfHour(pane_start)) NOT IN (SELECT toUInt32(pane_start) FROM {_HOURS})"
_SQL = (
    f"SELECT {_COLUMNS} FROM {_DAYS} "
    f"UNION ALL SELECT {_COLUMNS} FROM {_HOURS} AND {_NOT_IN_DAYS} "
    f"UNION ALL SELECT {_COLUMNS} FROM {_PANES} AND {_NOT_IN_DAYS} AND {_NOT_IN_HOURS}"
)


@dataclass(frozen=True, slots=True)
class CountedRange:
    """The range in which a version was counted with one baseline; Unix seconds at pane boundaries."""

    version: str
    baseline_id: str
    pane_s: int
    start_s: int
    end_s: int
    overlapping: int
    """Panes with events that overlap the requested range."""


def counted_ranges(client: Client, model: str, start_s: int, end_s: int) -> list[CountedRange]:
    """List the ranges in which a model's versions were counted, by version, then time."""
    return rows_of(
        client,
        CountedRange,
        "FROM (SELECT version, baseline_id, toUInt32(any(volume.pane_s)) AS pane_s, "
        "toUInt32(min(pane_start)) AS start_s, toUInt32(max(pane_start + volume.pane_s)) AS end_s, "
        "countIf(pane_start < {end_s:UInt32} AND toUInt32(pane_start) + volume.pane_s > {start_s:UInt32}) "
        "AS overlapping "
        "FROM volume WHERE model = {model:String} AND slice = 'all' AND n > 0 GROUP BY version, baseline_id) "
        "ORDER BY version, start_s, baseline_id",
        {"model": model, "start_s": start_s, "end_s": end_s},
    )


def pane_rows(
    client: Client,
    model: str,
    version: str,
    baseline_id: str,
    slice_name: str,
    field: str,
    start_s: int,
    end_s: int,
    *,
    days: bool = True,
) -> pa.Table:
    """Read the panes of a field and slice that overlap [start_s, end_s), with whole days and hours as rollups.

    Every event of these panes is in exactly one row: a day or hour within the range that has a rollup replaces its
    panes. A late event may take a minute to reach its day.

    Args:
        days: whether to use daily rollups; otherwise no row is longer than an hour or a pane.

    Returns:
        Columns of `panes`: pane_start (unsigned Unix seconds), pane_s, n, nulls, invalid, below, above, unseen,
        counts, shift_sum, shift_square_sum, minimum, maximum, sketch (binary) and sealed, by pane_start.
    """
    parameters = {
        "model": model,
        "version": version,
        "baseline_id": baseline_id,
        "slice": slice_name,
        "field": field,
        "start_s": start_s,
        "end_s": end_s,
        "first_hour_s": -(-start_s // SECONDS_PER_HOUR) * SECONDS_PER_HOUR,
        "last_hour_s": end_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR,
        "first_day_s": -(-start_s // SECONDS_PER_DAY) * SECONDS_PER_DAY if days else 0,
        "last_day_s": end_s // SECONDS_PER_DAY * SECONDS_PER_DAY if days else 0,
    }
    return with_binary_sketches(client.arrow(_SQL, parameters)).sort_by("pane_start")
