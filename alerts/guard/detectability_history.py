"""Writes what each model's rules and windows detect to the table `detectability`.

A computation takes tenths of a second for each field, slice and window, so a thread does it, model by model. It is due
a day after the last one in the table, so a restart neither repeats nor omits it, and again after a change of the
contract.
"""

import math
from collections.abc import Callable, Mapping
from threading import Event

import structlog
from barograph.contract import Contract

from barograph_server.alerts.guard.background_task import BackgroundTask, TaskStopped
from barograph_server.alerts.prediction.detectability_text import invisible_change, invisible_reason
from barograph_server.alerts.prediction.model_detectability import (
    DetectabilityError,
    ModelDetectability,
    compute_detectability,
    visibility,
)
from barograph_server.alerts.prediction.smallest_change import Detectability
from barograph_server.alerts.settings import AlertSettings
from barograph_server.sketches.baseline.baseline import BaselineError
from barograph_server.warehouse.client import Address, Client
from barograph_server.warehouse.history.field_traffic import last_computations
from barograph_server.warehouse.tables import insert_rows

PERIOD_S = 86_400
"""Age at which a computation is repeated."""
CHECK_S = 300
"""Pause between checks for models that are due, in seconds."""
PAUSE_S = 0.1
"""Pause after each step of a computation, which leaves the processor to the evaluation of the rules."""


def detectability_history(
    address: Address,
    alerts: AlertSettings,
    connect_to: Callable[[Address], Client],
    clock: Callable[[], float],
) -> BackgroundTask:
    """Return the task of the leading guard that computes what is due.

    Args:
        clock: Unix seconds.
    """
    log = structlog.get_logger().bind(processor="guard")

    def work(contracts: Mapping[str, Contract], stop: Event) -> None:
        def pause() -> None:
            if stop.wait(PAUSE_S):
                raise TaskStopped

        with connect_to(address) as client:
            for model in due_models(client, contracts, clock()):
                try:
                    result = compute_detectability(client, contracts[model], alerts, on_step=pause)
                except (DetectabilityError, BaselineError) as error:
                    log.info("detectability not computed", model=model, reason=str(error))
                else:
                    store_detectability(client, contracts[model], result, clock())

    return BackgroundTask("detectability", CHECK_S, clock, work)


def due_models(client: Client, contracts: Mapping[str, Contract], now_s: float) -> list[str]:
    """Return the models whose last computation is a day old or used another contract; those without one first."""
    last = last_computations(client)
    known = {model: (last[model][0].timestamp(), last[model][1]) for model in contracts if model in last}
    due = [
        model
        for model, contract in contracts.items()
        if model not in known or now_s - known[model][0] >= PERIOD_S or known[model][1] != contract.id
    ]
    return sorted(due, key=lambda model: known[model][0] if model in known else -math.inf)


def store_detectability(client: Client, contract: Contract, result: ModelDetectability, at_s: float) -> None:
    """Write the rows of one computation."""
    common = {
        "model": result.model,
        "at": int(at_s * 1000),
        "contract_id": contract.id,
        "version": result.version,
        "baseline_id": result.baseline_id,
    }
    groups = result.rules, sorted(result.windows, key=visibility)
    rows = [
        {**common, "rank": rank, **_row(each, result.std)}
        for group in groups
        for rank, each in enumerate(group, start=1)
    ]
    insert_rows(client, "detectability", rows)


def _row(row: Detectability, std: Mapping[str, float]) -> dict[str, object]:
    traffic = row.traffic
    in_hour, in_day, in_week = row.smallest
    return {
        "rule": row.rule,
        "field": row.field,
        "slice": row.slice_name,
        "window": row.window,
        "change": row.change,
        "std": std.get(row.field, math.nan),
        "events": math.nan if traffic is None else traffic.events,
        "phi": math.nan if traffic is None else traffic.phi,
        "in_hour": in_hour,
        "in_day": in_day,
        "in_week": in_week,
        "text": f"{invisible_change(row, std)}: {invisible_reason(row)}" if row.rule else "",
    }
