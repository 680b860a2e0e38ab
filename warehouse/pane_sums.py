"""Sums over panes: what a range of production held, and each of its windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sketches.baseline.columns import TAIL_KEYS
from warehouse.client import identifier
from warehouse.queries import rows_of

if TYPE_CHECKING:
    from datetime import datetime

    from warehouse.client import Client

FAR_S = 4_102_444_800
"""2100: after every pane."""
_RANGE = (
    "model = {model:String} AND version = {version:String} AND baseline_id = {baseline_id:String} "
    "AND pane_start >= {start_s:UInt32} AND pane_start < {end_s:UInt32}"
)


@dataclass(frozen=True, slots=True)
class ServedRow:
    """The predictions of one version that were counted on one baseline."""

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

    def parameters(self, start_s: int | None = None, end_s: int | None = None) -> dict[str, Any]:
        """What a query on it, or on a part of it, binds."""
        return {
            "model": self.model,
            "version": self.version,
            "baseline_id": self.baseline_id,
            "start_s": self.start_s if start_s is None else start_s,
            "end_s": self.end_s if end_s is None else end_s,
        }


def served(client: Client, model: str, version: str, start_s: int, end_s: int) -> list[ServedRow]:
    """By which baselines the predictions of a version were counted in panes that start in [start_s, end_s)."""
    return rows_of(
        client,
        ServedRow,
        "FROM (SELECT baseline_id, min(pane_start) AS first, max(pane_start) AS last, sum(n) AS n, "
        "any(partials_partition) AS partials_partition FROM (SELECT baseline_id, pane_start, n, partials_partition "
        "FROM volume FINAL WHERE model = {model:String} AND version = {version:String} AND slice = 'all' AND n > 0 "
        "AND pane_start >= {start_s:UInt32} AND pane_start < {end_s:UInt32}) GROUP BY baseline_id) ORDER BY first",
        {"model": model, "version": version, "start_s": start_s, "end_s": end_s},
    )


def events(client: Client, panes: PaneRange) -> dict[str, int]:
    """Predictions per slice, failed ones included."""
    found = client.rows(
        f"SELECT slice, sum(n) FROM volume FINAL WHERE {_RANGE} GROUP BY slice ORDER BY slice",  # noqa: S608
        panes.parameters(),
    )
    return {str(name): int(n) for name, n in found}


def pane_sums(
    client: Client, panes: PaneRange, *, by_s: Sequence[int] = (), only: str = "", start_s: int, end_s: int
) -> pa.Table:
    """Sum panes that start in [start_s, end_s), per slice and field, and per stretch of time where lengths are given.

    Args:
        client: where from.
        panes: whose; its own range is not looked at.
        by_s: lengths in seconds; stretches begin at multiples of them since 1970.
        only: one slice, or all.
        start_s: first pane start, Unix seconds.
        end_s: first pane start after the range.

    Returns:
        Columns `stretch_0` and so on (the number of the stretch, as many as lengths), `slice`, `field`, `counts`,
        the tail of the counts (`TAIL_KEYS`), and of the panes whose moments are kept `shift_sum`, `shift_square_sum`,
        `minimum`, `maximum`; in no order of rows.
    """
    names = [f"stretch_{i}" for i in range(len(by_s))]
    stretches = [
        f"intDiv(toUnixTimestamp(pane_start), {int(length)}) AS {n}" for n, length in zip(names, by_s, strict=True)
    ]
    sums = [f"sum({name}) AS total_{name}" for name in TAIL_KEYS]
    moments = [
        f"{how}If({name}, isFinite({name})) AS total_{name}"
        for how, name in (
            ("sum", "shift_sum"),
            ("sum", "shift_square_sum"),
            ("min", "minimum"),
            ("max", "maximum"),
        )
    ]
    keys = [*names, "slice", "field"]
    selected = [*stretches, "slice", "field", "sumForEach(counts) AS total_counts", *sums, *moments]
    limited = " AND slice = {only:String}" if only else ""
    found = client.arrow(
        f"SELECT {', '.join(selected)} FROM panes FINAL WHERE {_RANGE}{limited} "  # noqa: S608
        f"GROUP BY {', '.join(keys)}",
        {**panes.parameters(start_s, end_s), **({"only": only} if only else {})},
    )
    return found.rename_columns([name.removeprefix("total_") for name in found.column_names])


def sketches(client: Client, table: str, panes: PaneRange, start_s: int, end_s: int) -> list[tuple[str, int, bytes]]:
    """Read the sketches of the slice `all` of `panes` or, by the hour, of `rollups` that start in [start_s, end_s).

    Returns:
        Field, start (Unix seconds) and bytes of each, by field and start.
    """
    hourly = " AND pane_s = 3600" if table == "rollups" else ""
    found = client.arrow(
        f"SELECT field, toUnixTimestamp(pane_start) AS at, sketch FROM {identifier(table)} FINAL "  # noqa: S608
        f"WHERE {_RANGE} AND slice = 'all' AND sketch != ''{hourly} ORDER BY field, at",
        panes.parameters(start_s, end_s),
    )
    data = found.column("sketch").cast(pa.binary()).to_pylist()
    return list(zip(found.column("field").to_pylist(), found.column("at").to_pylist(), data, strict=True))
