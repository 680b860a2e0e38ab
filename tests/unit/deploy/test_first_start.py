"""The order in which compose starts the services for the first time, with servers that need their time."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.support.first_start import FirstStart
from tests.support.grafana_provisioning import ROOT

SERVICES: dict[str, Any] = {
    name: service
    for name, service in yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"].items()
    if "profiles" not in service
}
PROCESSORS = ("sketcher", "recorder", "monitor", "scorer", "guard")


def test_everything_starts_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    first = FirstStart(SERVICES, monkeypatch).run()
    assert first.started.keys() == SERVICES.keys()
    assert not first.failures
    assert first.started["clickhouse"] < first.started["users"] < first.started["apply"]
    assert all(first.started["apply"] < first.started[name] for name in (*PROCESSORS, "grafana"))
    assert not first.early_rules
    assert len(first.grafana.folders) == 2
