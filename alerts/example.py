"""Example installation whose alerting files are checked in: two contracts and the alert settings."""

import tomllib
from pathlib import Path

from barograph.contract import Contract
from barograph.contract.file import load_contract
from barograph.schemas import FOLDER as SCHEMAS

from barograph_server.alerts.grafana import Json, to_files
from barograph_server.alerts.rules import rules_for
from barograph_server.alerts.settings import AlertSettings, read_alert_settings

ROOT = Path(__file__).resolve().parents[1]
GRAFANA = ROOT / "deploy/grafana"
ALERTING = GRAFANA / "alerting"
RUNBOOKS = ROOT / "docs/runbooks"


def example_settings() -> AlertSettings:
    path = GRAFANA / "barograph.toml"
    return read_alert_settings(tomllib.loads(path.read_text("utf-8"))["alerts"], path.name)


def example_contracts() -> list[Contract]:
    return [load_contract(path) for path in sorted((SCHEMAS / "examples").glob("contract*.yaml"))]


def example_files() -> dict[str, Json]:
    settings = example_settings()
    return to_files(rules_for(example_contracts(), settings), settings)
