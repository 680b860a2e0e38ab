"""The table of what inference servers report about themselves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from barograph.contract import Contract

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_records, insert_rows

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class ServingFact:
    """A row of `serving_facts`."""

    model: str
    instance: str
    name: str
    label: str
    at: int
    """Unix milliseconds."""
    server: str
    kind: str
    unit: str
    value: float
    n: float = 0.0
    total: float = 0.0
    interval_s: float = 0.0
    bucket_ends: tuple[float, ...] = ()
    bucket_counts: tuple[int, ...] = ()
    p50_low: float = NAN
    p50_high: float = NAN
    p95_low: float = NAN
    p95_high: float = NAN
    p99_low: float = NAN
    p99_high: float = NAN


def insert_serving_facts(client: Client, facts: Sequence[ServingFact]) -> None:
    """Insert rows; the same rows again replace each other. Raises as `insert_columns`."""
    insert_records(client, "serving_facts", facts)


_CONTEXT = "context."


def store_serving_sections(client: Client, contracts: Sequence[Contract], applied_ms: int) -> None:
    """Store the sections of contracts that are applied, with the time of their rows in `contracts`.

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
                **msgspec.structs.asdict(facts),
                "continuous_batching": {None: "", True: "yes", False: "no"}[facts.continuous_batching],
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
