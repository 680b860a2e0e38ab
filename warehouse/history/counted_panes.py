"""What the monitor has counted and sealed of a model: the time, the first and last panes, late events, newest rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from barograph_server.warehouse.client import Client

SlicePane = tuple[str, str, str, int]
"""Version, baseline id, slice, and start of a pane in Unix seconds."""
_MONITOR_TABLES = ("panes", "volume", "drift", "rates")


def sealed_until_s(client: Client, model: str) -> int | None:
    """Return until when panes are sealed and all that follows from them is written, in Unix seconds, or None."""
    rows = client.rows("SELECT sealed_until FROM progress FINAL WHERE model = {model:String}", {"model": model})
    return max((int(sealed_until.timestamp()) for (sealed_until,) in rows), default=None)


def first_panes_s(client: Client, model: str) -> dict[tuple[str, str], int | None]:
    """Return the start of the first pane with an event in time, by (version, baseline id); None if all were late."""
    rows = client.rows(
        "SELECT version, baseline_id, countIf(n > late) > 0, minIf(toUnixTimestamp(pane_start), n > late) "
        "FROM volume FINAL WHERE model = {model:String} AND slice = 'all' AND n > 0 GROUP BY version, baseline_id",
        {"model": model},
    )
    return {
        (str(version), str(baseline)): int(first) if in_time else None for version, baseline, in_time, first in rows
    }


def last_pane_s(client: Client, model: str) -> int | None:
    """Return the start of the last pane with an event; None if there is none."""
    [(n, last)] = client.rows(
        "SELECT count(), toUnixTimestamp(max(pane_start)) FROM volume FINAL "
        "WHERE model = {model:String} AND slice = 'all' AND n > 0",
        {"model": model},
    )
    return int(last) if n else None


def record_start_s(client: Client, model: str) -> int | None:
    """Return the start of the first pane, with or without events; None if there is none."""
    [(n, first)] = client.rows(
        "SELECT count(), toUnixTimestamp(min(pane_start)) FROM volume WHERE model = {model:String}", {"model": model}
    )
    return int(first) if n else None


def late_events(client: Client, model: str, from_s: int, to_s: int) -> dict[SlicePane, int]:
    """Count the late events of the panes that start in [from, to), if there are any."""
    rows = client.rows(
        "SELECT version, baseline_id, slice, toUnixTimestamp(pane_start), late FROM volume FINAL WHERE "
        "model = {model:String} AND pane_start >= {from_s:UInt32} AND pane_start < {to_s:UInt32} AND late > 0",
        {"model": model, "from_s": from_s, "to_s": to_s},
    )
    return {(str(v), str(b), str(s), int(start_s)): int(n) for v, b, s, start_s, n in rows}


def newest_record_seqs(client: Client, model: str) -> dict[str, int]:
    """Return the newest `record_seq` of a model in each of the tables that a commit of the monitor writes."""
    newest = {}
    for table in _MONITOR_TABLES:
        [(record_seq,)] = client.rows(
            f"SELECT max(record_seq) FROM {table} WHERE model = {{model:String}}", {"model": model}
        )
        newest[table] = int(record_seq)
    return newest
