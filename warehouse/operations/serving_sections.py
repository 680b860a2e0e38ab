"""Sections of contracts as tables: budget, user, and how versions are served."""

from __future__ import annotations

import math
from collections.abc import Sequence

from barograph.contract import Contract

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows

_CONTEXT = "context."


def store_serving_sections(client: Client, contracts: Sequence[Contract], applied_ms: int) -> None:
    """Store the sections of contracts that are applied, with the time of their rows in `contracts`.

    Args:
        client: the connection to insert through.
        applied_ms: the time, Unix milliseconds.

    Raises: as `insert_columns`.
    """
    shared = [(contract, {"contract_id": contract.id, "applied_at": applied_ms}) for contract in contracts]
    insert_rows(
        client,
        "deployments",
        [
            {
                "model": contract.model,
                "version": version,
                "quantisation": facts.quantisation,
                "speculative_decoding": facts.speculative_decoding,
                "continuous_batching": {None: "", True: "yes", False: "no"}[facts.continuous_batching],
                "gpu": facts.gpu,
                "engine": facts.engine,
                "notes": facts.notes,
                **columns,
            }
            for contract, columns in shared
            for version, facts in contract.deployments.items()
        ],
    )
    # Last: the latest row of a model decides which deployments are in effect.
    insert_rows(
        client,
        "cost_settings",
        [
            {
                "model": contract.model,
                "budget_day": math.nan if contract.budget.day is None else contract.budget.day,
                "budget_month": math.nan if contract.budget.month is None else contract.budget.month,
                "user_member": contract.user.removeprefix(_CONTEXT),
                **columns,
            }
            for contract, columns in shared
        ],
    )
