"""Served feature values from raw predictions, for comparison with training pipelines."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa

from barograph_server.warehouse.client import Client, identifier

FeatureSource = Literal["numbers", "strings", "context", "score", "class"]
STEP = timedelta(hours=1)
"""Event time per query, which limits memory."""


def served_features(
    client: Client,
    model: str,
    version: str | None,
    start: datetime,
    end: datetime,
    columns: Mapping[str, tuple[FeatureSource, str]],
) -> Iterator[pa.Table]:
    """Read the served values of a model's predictions in [start, end), one hour of event time at a time.

    Args:
        columns: name → source and member: a feature in `numbers` or `strings`, a member of `context`, or `score` or
            `class` (whose member is ignored).

    Returns:
        Tables with the column `id` and the requested columns: numbers or text; null if the event has null or no value.
        Rows of an hour are in order of event time, then id.
    """
    names = [identifier(f"c{i}") for i in range(len(columns))]
    parameters: dict[str, Any] = {"model": model}
    selected = ["id"]
    for name, (source, member) in zip(names, columns.values(), strict=True):
        selected.append(f"{_expression(source, name)} AS {name}")
        parameters[f"{name}_name"] = member
    condition = "model = {model:String} AND at >= {start:DateTime64(3, 'UTC')} AND at < {end:DateTime64(3, 'UTC')}"
    if version is not None:
        condition += " AND version = {version:String}"
        parameters["version"] = version
    sql = f"SELECT {', '.join(selected)} FROM all_predictions WHERE {condition} ORDER BY at, id"
    while start < end:
        stop = min(end, datetime.fromtimestamp(start.timestamp() // 3600 * 3600, UTC) + STEP)
        rows = client.arrow(sql, {**parameters, "start": start, "end": stop})
        if rows.num_rows:
            yield rows.rename_columns(["id", *columns])
        start = stop


def served_range(client: Client, model: str, version: str | None) -> tuple[int, datetime, datetime]:
    """Return the number of a model's raw predictions, and their first and last event time."""
    ((n, first, last),) = client.rows(
        "SELECT count(), min(at), max(at) FROM all_predictions WHERE model = {model:String} "
        "AND ({version:String} = '' OR version = {version:String})",
        {"model": model, "version": version or ""},
    )
    return int(n), first, last


def _expression(source: FeatureSource, name: str) -> str:
    member = f"{{{name}_name:String}}"
    match source:
        case "numbers":
            return f"numbers[{member}]"
        case "score":
            return f"if(isNaN(score) OR {member} = '', NULL, score)"
        case "class":
            return f"if(class = '' OR {member} = '', NULL, class)"
        case _:
            return f"if(mapContains({source}, {member}), {source}[{member}], NULL)"
