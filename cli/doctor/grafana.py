"""Grafana, where one is named: whether it answers, takes the token, has the plugin, and holds what was applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from barograph.contract import Contract

from alerts.settings import AlertsError
from cli.apply.grafana import GrafanaError, bundle_of, connect, plan_grafana
from cli.doctor.finding import Finding, look, ok, unknown, wrong
from cli.errors import CommandError
from cli.settings import Settings

PART = "Grafana"
PATIENCE_S = 5.0
"""How long one answer is awaited."""


def check_grafana(settings: Settings, in_force: Mapping[str, Contract] | None) -> Iterator[Finding]:
    """Look at Grafana.

    Args:
        settings: with or without a Grafana.
        in_force: the contracts by model; None where the warehouse does not tell.
    """
    if settings.grafana is None:
        yield unknown(PART, "No Grafana is named (grafana.url), so none was looked at.")
        return
    try:
        with connect(settings.grafana, timeout_s=PATIENCE_S, pause_s=0.2) as grafana:
            plan = plan_grafana(grafana, bundle_of(in_force or {}, settings))
    except (GrafanaError, CommandError, AlertsError) as error:
        yield wrong(PART, str(error))
        return
    yield ok(PART, f"Grafana at {settings.grafana.url} answers, takes the token and has the plugin.")
    if in_force is None:
        yield unknown(PART, "What it should hold is not known, since ClickHouse does not tell the contracts in force.")
    elif plan.is_empty:
        yield ok(PART, "It holds what was applied.")
    else:
        differing = [*plan.written, *plan.left]
        named = ", ".join(f"{finding.item.kind} {finding.item.name}" for finding in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        yield look(
            PART,
            f"It does not hold what is in force: {named}{more} differ." if differing else "Its record is incomplete.",
            "See `barograph plan`, then run `barograph apply`.",
        )
