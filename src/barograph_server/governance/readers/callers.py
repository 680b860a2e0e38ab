"""Programs that request predictions, as they name themselves in the context of events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from barograph.contract import Contract

from barograph_server.governance.readers.comparison import Reader
from barograph_server.terminal import listed, plural
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.callers import MAX_CALLERS, ModelCaller, model_callers


def read_callers(client: Client, contracts: Iterable[Contract], since: datetime) -> tuple[list[Reader], list[str]]:
    """Read the callers of the models whose contract names the member of events that has them.

    Args:
        client: the connection; its user may read predictions.
        since: start of the range of predictions, in event time.

    Returns:
        The callers, and a note on each model whose callers are known only in part.
    """
    by_name: dict[str, list[tuple[str, ModelCaller]]] = {}
    notes = []
    for contract in contracts:
        if not contract.caller:
            continue
        callers = model_callers(client, contract.model, contract.caller.partition(".")[2], since)
        for caller in callers:
            if caller.name:
                by_name.setdefault(caller.name, []).append((contract.model, caller))
            else:
                n = caller.predictions
                names = "names" if n == 1 else "name"
                notes.append(f"{plural(n, 'prediction')} of {contract.model} {names} no caller in {contract.caller}.")
        if len(callers) == MAX_CALLERS:
            notes.append(f"{contract.model} has more than {MAX_CALLERS:,} callers; those with most predictions count.")
        if contract.raw_share < 1:
            notes.append(
                f"Only {contract.raw_share:.0%} of the predictions of {contract.model} are stored with callers."
            )
    return [_reader(name, callers) for name, callers in by_name.items()], notes


def _reader(name: str, callers: Sequence[tuple[str, ModelCaller]]) -> Reader:
    origins = {producer for _, caller in callers for producer in caller.producers} - {""}
    return Reader(
        *("caller", name, tuple(model for model, _ in callers)),
        first=min(caller.first for _, caller in callers),
        last=max(caller.last for _, caller in callers),
        volume=sum(caller.predictions for _, caller in callers),
        origin=listed(sorted(origins)) or "unknown producer",
    )
