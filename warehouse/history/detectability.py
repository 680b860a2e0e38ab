"""The computations in the table `detectability`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from barograph_server.warehouse.client import Client


def last_computations(client: Client) -> dict[str, tuple[datetime, str]]:
    """Return the time and the contract's id of the last computation of each model."""
    rows = client.rows("SELECT model, max(at), argMax(contract_id, at) FROM detectability GROUP BY model")
    return {model: (at, contract_id) for model, at, contract_id in rows}
