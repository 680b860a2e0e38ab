"""Deployment to a running Grafana: folder, data source, alerting, dashboards."""

from __future__ import annotations

from barograph_server.grafana.client import connect
from barograph_server.grafana.errors import GrafanaError
from barograph_server.provisioning.grafana.apply import apply_grafana, check_grafana
from barograph_server.provisioning.grafana.bundle import Bundle, build_bundle
from barograph_server.provisioning.grafana.plan import GrafanaPlan, plan_grafana

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
