"""Reads the raw events of one version of a model and their labels, as columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from barograph.contract.model import FieldType

    from barograph_server.warehouse.client import Client


def newest_prediction(client: Client, model: str) -> datetime | None:
    """Return the event time of the newest raw prediction; None without raw rows."""
    ((newest, n),) = client.rows(
        "SELECT max(at), count() FROM predictions WHERE model = {model:String}", {"model": model}
    )
    return newest if n else None


def recorded_versions(client: Client, model: str, since: datetime, until: datetime) -> dict[str, int]:
    """Count the raw predictions of a range of event time by version, those with the most first."""
    return dict(
        client.rows(
            "SELECT version, count() AS n FROM all_predictions WHERE model = {model:String} "
            "AND at >= {since:DateTime64(3)} AND at < {until:DateTime64(3)} GROUP BY version ORDER BY n DESC, version",
            {"model": model, "since": since, "until": until},
        )
    )


def recorded_members(
    client: Client, model: str, version: str, since: datetime, until: datetime
) -> dict[str, FieldType | None]:
    """Find the members of raw predictions in a range of event time, with the types as which they are recorded.

    Returns:
        Members such as `metrics.x`, in the order of their names, with `float` for features that are numbers, `category`
        for those that are text, and None for members of the other maps.
    """
    maps = {
        "numbers": "features",
        "strings": "features",
        "context": "context",
        "scores": "scores",
        "metrics": "metrics",
    }
    ((*names,),) = client.rows(
        f"SELECT {', '.join(f'groupUniqArrayArray(mapKeys({name}))' for name in maps)} FROM all_predictions "
        "WHERE model = {model:String} AND version = {version:String} AND at >= {since:DateTime64(3)} "
        "AND at < {until:DateTime64(3)}",
        {"model": model, "version": version, "since": since, "until": until},
    )
    kinds: dict[str, FieldType | None] = {"numbers": "float", "strings": "category"}
    return {
        f"{maps[name]}.{member}": kinds.get(name)
        for name, members in zip(reversed(maps), reversed(names), strict=True)
        for member in sorted(map(str, members))
    }


def recorded_predictions(
    client: Client, model: str, version: str, members: Mapping[str, FieldType | None], since: datetime, until: datetime
) -> pa.Table:
    """Read the raw predictions of a range of event time, in order of time.

    Args:
        members: members of events (`features.x`, `context.y`, …) with the types of their fields; None: no field's.
        until: its end, which is not part of it.

    Returns:
        The columns `id`, `at`, `arm`, `score`, `class`, `latency_ms`, `status` and `error`, then one per member by its
        name. Values that an event lacks are null.
    """
    parameters: dict[str, Any] = {"model": model, "version": version, "since": since, "until": until}
    selected = []
    for i, (source, kind) in enumerate(members.items()):
        map_name, _, parameters[f"m{i}"] = source.partition(".")
        selected.append(f", {_expression(map_name, kind, f'{{m{i}:String}}')} AS c{i}")
    rows = client.arrow(
        "SELECT id, at, nullIf(arm, '') AS arm, if(isNaN(score), NULL, score) AS score, nullIf(class, '') AS class, "
        "if(isNaN(latency_ms), NULL, latency_ms) AS latency_ms, nullIf(status, '') AS status, "
        f"nullIf(error, '') AS error{''.join(selected)} FROM all_predictions "
        "WHERE model = {model:String} AND version = {version:String} AND at >= {since:DateTime64(3)} "
        "AND at < {until:DateTime64(3)} ORDER BY at, id",
        parameters,
    )
    return rows.rename_columns([*rows.column_names[: rows.num_columns - len(members)], *members])


def effective_labels(client: Client, model: str, since: datetime) -> pa.Table:
    """Read the last label of each prediction since an event time: columns `id`, `label` and `at`, in order of time."""
    rows = client.arrow(
        "SELECT id, argMax(label, (at, offset)) AS label, max(at) AS latest FROM labels "
        "WHERE model = {model:String} AND at >= {since:DateTime64(3)} GROUP BY id ORDER BY latest, id",
        {"model": model, "since": since},
    )
    return rows.rename_columns(["id", "label", "at"])


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
