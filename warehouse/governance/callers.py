"""The callers of a model, as they name themselves in the context of predictions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from barograph_server.warehouse.client import Client

MAX_CALLERS = 1_000


class ModelCaller(NamedTuple):
    """A caller of one model."""

    name: str
    """Empty for predictions that name none."""
    first: datetime
    last: datetime
    predictions: int
    producers: list[str]


def model_callers(client: Client, model: str, member: str, since: datetime) -> list[ModelCaller]:
    """Read the callers with the most predictions, at most `MAX_CALLERS`.

    Args:
        client: the connection; its user may read predictions.
        member: the member of the context that names them.
        since: start of the range of predictions, in event time.
    """
    rows = client.rows(
        "SELECT context[{member:String}] AS caller, min(at), max(at), count(), "
        "groupUniqArray(20)(toString(producer)) FROM predictions FINAL "
        "WHERE model = {model:String} AND at >= {since:DateTime64(3)} "
        "GROUP BY caller ORDER BY count() DESC LIMIT {limit:UInt32}",
        {"member": member, "model": model, "since": since, "limit": MAX_CALLERS},
    )
    return [ModelCaller(*row) for row in rows]
