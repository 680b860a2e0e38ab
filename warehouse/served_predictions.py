"""Raw predictions as tables of what was served, for comparison with what training computes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from warehouse.client import identifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Literal

    import pyarrow as pa

    from warehouse.client import Client

    Room = Literal["numbers", "strings", "context", "score", "class"]

STEP = timedelta(hours=1)
"""Event time that is read at a time: what bounds memory."""


def served_features(
    client: Client,
    model: str,
    version: str | None,
    start: datetime,
    end: datetime,
    columns: Mapping[str, tuple[Room, str]],
) -> Iterator[pa.Table]:
    """Read what was served to a model's predictions of [start, end), an hour of event time at a time.

    Args:
        client: where from.
        model: the model.
        version: one version, or all.
        start: the first event time.
        end: the first event time after the range.
        columns: name → where the value stands: a feature in `numbers` or `strings`, a member of `context`, or `score`
            and `class` (whose name counts for nothing).

    Returns:
        Tables with the columns `id` and those asked for: numbers, or text. Null where the event gives null, or does
        not hold it. Rows of an hour are in order of event time, then id.
    """
    names = [identifier(f"c{position}") for position in range(len(columns))]
    parameters: dict[str, Any] = {"model": model}
    selected = ["id"]
    for name, (room, member) in zip(names, columns.values(), strict=True):
        selected.append(f"{_expression(room, name)} AS {name}")
        parameters[f"{name}_name"] = member
    which = "model = {model:String} AND at >= {start:DateTime64(3, 'UTC')} AND at < {end:DateTime64(3, 'UTC')}"
    if version is not None:
        which += " AND version = {version:String}"
        parameters["version"] = version
    sql = f"SELECT {', '.join(selected)} FROM all_predictions WHERE {which} ORDER BY at, id"  # noqa: S608 - our names
    while start < end:
        stop = min(end, datetime.fromtimestamp(start.timestamp() // 3600 * 3600, UTC) + STEP)
        found = client.arrow(sql, {**parameters, "start": start, "end": stop})
        if found.num_rows:
            yield found.rename_columns(["id", *columns])
        start = stop


def served_range(client: Client, model: str, version: str | None) -> tuple[int, datetime, datetime]:
    """How many raw predictions there are of a model, and their first and last event time."""
    ((n, first, last),) = client.rows(
        "SELECT count(), min(at), max(at) FROM all_predictions WHERE model = {model:String} "
        "AND ({version:String} = '' OR version = {version:String})",
        {"model": model, "version": version or ""},
    )
    return int(n), first, last


def _expression(room: Room, name: str) -> str:
    member = f"{{{name}_name:String}}"
    match room:
        case "numbers":
            return f"numbers[{member}]"
        case "score":
            return f"if(isNaN(score) OR {member} = '', NULL, score)"
        case "class":
            return f"if(class = '' OR {member} = '', NULL, class)"
        case _:
            return f"if(mapContains({room}, {member}), {room}[{member}], NULL)"
