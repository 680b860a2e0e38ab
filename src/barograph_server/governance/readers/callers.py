"""Programs that request predictions, as they name themselves in the context of events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import chain
from typing import Any

from barograph.contract import Contract

from barograph_server.governance.readers.comparison import Reader
from barograph_server.terminal import listed, plural
from barograph_server.warehouse.client import Client

MAX_CALLERS = 1_000
_CALLERS = """
SELECT
    context[{member:String}] AS caller,
    min(at),
    max(at),
    count(),
    groupUniqArray(20)(toString(producer)) AS producers
FROM predictions FINAL
WHERE model = {model:String} AND at >= {since:DateTime64(3)}
GROUP BY caller
ORDER BY count() DESC
LIMIT {limit:UInt32}
"""


def read_callers(client: Client, contracts: Iterable[Contract], since: datetime) -> tuple[list[Reader], list[str]]:
    """Read the callers of the models whose contract names the member of events that has them.

    Args:
        client: the connection; its user needs SELECT on predictions.
        contracts: the contracts in force.
        since: start of the range of predictions, in event time.

    Returns:
        The callers, and a note on each model whose callers are known only in part.
    """
    rows_of_callers: dict[str, list[tuple[Any, ...]]] = {}
    notes = []
    for contract in contracts:
        if not contract.caller:
            continue
        parameters = {"member": contract.caller.partition(".")[2], "model": contract.model, "since": since}
        rows = client.rows(_CALLERS, parameters | {"limit": MAX_CALLERS})
        for caller, first, last, n, producers in rows:
            if caller:
                rows_of_callers.setdefault(caller, []).append((contract.model, first, last, n, producers))
            else:
                names = "names" if n == 1 else "name"
                notes.append(f"{plural(n, 'prediction')} of {contract.model} {names} no caller in {contract.caller}.")
        if len(rows) == MAX_CALLERS:
            notes.append(f"{contract.model} has more than {MAX_CALLERS:,} callers; those with most predictions count.")
        if contract.raw_share < 1:
            notes.append(
                f"Only {contract.raw_share:.0%} of the predictions of {contract.model} are stored with callers."
            )
    return [_reader(caller, rows) for caller, rows in rows_of_callers.items()], notes


def _reader(caller: str, rows: Iterable[tuple[Any, ...]]) -> Reader:
    models, first, last, counts, producers = zip(*rows, strict=True)
    origins = sorted(set(chain.from_iterable(producers)) - {""})
    return Reader(
        *("caller", caller, models),
        first=min(first),
        last=max(last),
        volume=sum(counts),
        origin=listed(origins) or "unknown producer",
    )
