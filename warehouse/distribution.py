"""What panes and hourly roll-ups hold of one field over any range of the past."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from sketches.baseline.columns import COLUMN_KEYS
from warehouse.queries import rows_of

if TYPE_CHECKING:
    from warehouse.client import Client

SECONDS_PER_HOUR = 3600
SECONDS_PER_DAY = 86_400

_COLUMNS = (
    f"pane_start, pane_s, n, {', '.join(COLUMN_KEYS)}, counts, shift_sum, shift_square_sum, minimum, maximum, sketch, "
    "sealed"
)
_ONE = (
    "model = {model:String} AND version = {version:String} AND baseline_id = {baseline_id:String} "
    "AND slice = {slice:String} AND field = {field:String}"
)
_DAYS = (
    f"rollups FINAL WHERE {_ONE} AND pane_s = 86400 "
    "AND pane_start >= {first_day_s:UInt32} AND pane_start < {last_day_s:UInt32}"
)
_HOURS = (
    f"rollups FINAL WHERE {_ONE} AND pane_s = 3600 "
    "AND pane_start >= {first_hour_s:UInt32} AND pane_start < {last_hour_s:UInt32}"
)
_PANES = (
    f"panes FINAL WHERE {_ONE} AND pane_start < {{end_s:UInt32}} AND toUInt32(pane_start) + pane_s > {{start_s:UInt32}}"
)
_NOT_IN_DAYS = f"toUInt32(toStartOfDay(pane_start)) NOT IN (SELECT toUInt32(pane_start) FROM {_DAYS})"  # noqa: S608
_NOT_IN_HOURS = f"toUInt32(toStartOfHour(pane_start)) NOT IN (SELECT toUInt32(pane_start) FROM {_HOURS})"  # noqa: S608
_SQL = (
    f"SELECT {_COLUMNS} FROM {_DAYS} "  # noqa: S608 - words of this file
    f"UNION ALL SELECT {_COLUMNS} FROM {_HOURS} AND {_NOT_IN_DAYS} "
    f"UNION ALL SELECT {_COLUMNS} FROM {_PANES} AND {_NOT_IN_DAYS} AND {_NOT_IN_HOURS}"
)


@dataclass(frozen=True, slots=True)
class CountedSpan:
    """From when to when a version was counted on one baseline; ends are Unix seconds, of panes."""

    version: str
    baseline_id: str
    pane_s: int
    start_s: int
    end_s: int
    inside: int
    """Panes with events that overlap the range that was asked for."""


def counted_spans(client: Client, model: str, start_s: int, end_s: int) -> list[CountedSpan]:
    """List when a model's versions were counted, by version, then time, and what of it overlaps [start_s, end_s)."""
    return rows_of(
        client,
        CountedSpan,
        "FROM (SELECT version, baseline_id, toUInt32(any(volume.pane_s)) AS pane_s, "
        "toUInt32(min(pane_start)) AS start_s, toUInt32(max(pane_start + volume.pane_s)) AS end_s, "
        "countIf(pane_start < {end_s:UInt32} AND toUInt32(pane_start) + volume.pane_s > {start_s:UInt32}) AS inside "
        "FROM volume WHERE model = {model:String} AND slice = 'all' AND n > 0 GROUP BY version, baseline_id) "
        "ORDER BY version, start_s, baseline_id",
        {"model": model, "start_s": start_s, "end_s": end_s},
    )


def counted(
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
    """Read the panes of one field and slice that overlap [start_s, end_s); whole days and hours as their roll-ups.

    Every event of these panes is in exactly one row: of a day, or an hour, that is within the range and has a roll-up
    the panes are left out. A late event may take a minute to come into its day.

    Args:
        client: where from.
        model: whose.
        version: whose.
        baseline_id: the baseline that the panes are counted on.
        slice_name: the slice.
        field: the field.
        start_s: start of the range, Unix seconds.
        end_s: its end.
        days: whether to read days where there are some; else no row is longer than an hour or a pane.

    Returns:
        Columns of `panes`: pane_start (unsigned epoch seconds), pane_s, n, nulls, invalid, below, above, unseen,
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
    found = client.arrow(_SQL, parameters)
    # Sketches are bytes; the engine sends all of its strings as text.
    index = found.schema.get_field_index("sketch")
    found = found.set_column(index, "sketch", found.column(index).cast(pa.binary()))
    return found.sort_by("pane_start")
