"""The contract of the support bot, and its first baseline from recorded generations."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
from barograph.contract import Arms, Contract, Field, Slo, Window

from cli.infer import InferOptions, InferResult, Roles, infer
from local.language_model import MODEL as VERSION
from warehouse.client import Client

MODEL = "support-bot"
PRODUCTION, CANDIDATE = "answer@1", "answer@2"
"""The prompts, which are the arms of the test."""
PANE_S = 10
WINDOW = Window(60, 10)
METRICS = ("input_tokens", "output_tokens", "cached_input_tokens", "ttft_ms", "time_per_output_token_ms")
"""Metrics of a generation that become fields."""
SLO = Slo(error_rate=0.02)


def first_contract() -> Contract:
    """Return the contract before there is a baseline: generations are recorded, and nothing is judged."""
    return Contract(model=MODEL, pane_s=PANE_S, lateness_s=PANE_S, out_of_order_s=PANE_S, windows=(WINDOW,), slo=SLO)


def infer_contract(client: Client, table: Path) -> InferResult:
    """Write the recorded generations as a table, and infer contract and baseline from it.

    Args:
        client: the connection to read from.
        table: the Parquet file to write.
    """
    columns = ", ".join(f"metrics['{name}'] AS {name}" for name in METRICS)
    recorded = client.arrow(
        f"SELECT at, {columns} FROM all_predictions WHERE model = {{model:String}} ORDER BY at",  # noqa: S608 - own names
        {"model": MODEL},
    )
    pq.write_table(recorded, table)
    arms = Arms(shares={PRODUCTION: 0.5, CANDIDATE: 0.5}, control=PRODUCTION)
    options = InferOptions(
        table=table, model=MODEL, version=VERSION, roles=Roles(time="at"), pane_s=PANE_S, windows=(WINDOW,), arms=arms
    )
    result, first = infer(options), first_contract()
    contract = msgspec.structs.replace(
        result.contract,
        fields=tuple(map(_of_generation, result.contract.fields)),
        lateness_s=first.lateness_s,
        out_of_order_s=first.out_of_order_s,
        slo=SLO,
    )
    return dataclasses.replace(result, contract=contract)


def _of_generation(field: Field) -> Field:
    """Return the field with the member of events that it reads, and with the sketch for tails."""
    if field.name in METRICS:
        return msgspec.structs.replace(field, source=f"metrics.{field.name}", sketch="req")
    return field
