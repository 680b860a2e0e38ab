"""Checks of Grafana: whether it answers, accepts the token, has the plugin, and has what was applied."""

import os
from collections.abc import Iterator, Mapping

from barograph.contract import Contract

from barograph_server.alerts.settings import AlertsError
from barograph_server.errors import CommandError
from barograph_server.finding import Finding, error, ok, unknown, warning
from barograph_server.provisioning.grafana import Grafana, GrafanaError, build_resources, plan_grafana
from barograph_server.settings import Settings
from barograph_server.terminal import listed

COMPONENT = "Grafana"
TIMEOUT_S = 5.0
"""Time limit of one request, in seconds."""


def check_grafana(settings: Settings, in_force: Mapping[str, Contract] | None) -> Iterator[Finding]:
    """Check Grafana against the contracts in force; None if ClickHouse did not return them."""
    if settings.grafana is None:
        yield unknown(COMPONENT, "No Grafana is configured (grafana.url).")
        missing = ", ".join(settings.alerts.missing_variables(os.environ)) if settings.alerts.configured else ""
        if missing:
            yield warning(
                COMPONENT,
                f"Contact points need variables that are not set here: {missing}. Without them Grafana sends nothing.",
                "Set them where Grafana runs, for `docker compose` in .env.",
            )
        return
    try:
        with Grafana(settings.grafana, timeout_s=TIMEOUT_S, pause_s=0.2) as grafana:
            plan = plan_grafana(grafana, build_resources(in_force or {}, settings))
    except (GrafanaError, CommandError, AlertsError) as cause:
        yield error(COMPONENT, str(cause))
        return
    yield ok(COMPONENT, f"Grafana at {settings.grafana.url} answers, accepts the token and has the plugin.")
    if in_force is None:
        yield unknown(
            COMPONENT, "Its dashboards and rules were not compared: ClickHouse did not return the contracts in force."
        )
    elif plan.is_empty:
        yield ok(COMPONENT, "Its dashboards and rules are those in force.")
    else:
        differing = listed([change.resource.label for change in (*plan.written, *plan.skipped)], 3)
        yield warning(
            COMPONENT,
            f"Its dashboards and rules differ from those in force: {differing}.",
            "See `barograph plan`, then run `barograph apply`.",
        )
