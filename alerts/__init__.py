"""Alert rules as code: generated from contracts, written for Grafana, replayed over history, evaluated without Grafana.

`rules_for` generates the rules. `to_files` and `to_api` write them in Grafana's file and API formats.
"""

from barograph_server.alerts.grafana import ApiAlerting, to_api, to_files
from barograph_server.alerts.rule import Rule
from barograph_server.alerts.rules import rules_for, rules_of
from barograph_server.alerts.settings import AlertsError, AlertSettings, read_alert_settings

__all__ = [
    "AlertSettings",
    "AlertsError",
    "ApiAlerting",
    "Rule",
    "read_alert_settings",
    "rules_for",
    "rules_of",
    "to_api",
    "to_files",
]
