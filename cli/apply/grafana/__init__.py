"""Deployment to a running Grafana: folder, data source, alerting, dashboards."""

from __future__ import annotations

from cli.apply.grafana.apply import apply_grafana, check_grafana
from cli.apply.grafana.bundle import Bundle, build_bundle
from cli.apply.grafana.client import connect
from cli.apply.grafana.errors import GrafanaError
from cli.apply.grafana.plan import GrafanaPlan, plan_grafana

__all__ = [
    "Bundle",
    "GrafanaError",
    "GrafanaPlan",
    "apply_grafana",
    "build_bundle",
    "check_grafana",
    "connect",
    "plan_grafana",
]
