"""Deployment to a running Grafana: folders, data source, alerting, dashboards."""

from barograph_server.grafana.client import Grafana
from barograph_server.grafana.errors import GrafanaError
from barograph_server.provisioning.grafana.apply import apply_grafana, check_grafana
from barograph_server.provisioning.grafana.bundle import build_resources
from barograph_server.provisioning.grafana.plan import GrafanaPlan, plan_grafana

__all__ = [
    "Grafana",
    "GrafanaError",
    "GrafanaPlan",
    "apply_grafana",
    "build_resources",
    "check_grafana",
    "plan_grafana",
]
