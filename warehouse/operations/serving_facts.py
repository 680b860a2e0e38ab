"""The table of what inference servers report about themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_records

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
