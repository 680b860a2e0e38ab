"""The order in which compose starts the services for the first time, with servers that need their time."""

from __future__ import annotations

import copy
from collections.abc import Callable
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


def ping_itself(services: Any) -> None:
    services["clickhouse"]["healthcheck"]["test"][-1] = "http://127.0.0.1:8123/ping"


def apply_at_once_and_give_up(services: Any) -> None:
    del services["apply"]["depends_on"]["kafka"]
    services["apply"]["restart"] = "no"


def show_at_once(services: Any) -> None:
    del services["grafana"]["depends_on"]


@pytest.mark.parametrize(
    ("change", "failed", "missing", "early_rules"),
    [
        (ping_itself, ["users"], [], False),
        (apply_at_once_and_give_up, ["apply"], sorted(["apply", "grafana", *PROCESSORS]), False),
        (show_at_once, [], [], True),
    ],
)
def test_a_race_of_a_first_start_is_visible(
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Any], None],
    failed: list[str],
    missing: list[str],
    early_rules: bool,
) -> None:
    services = copy.deepcopy(SERVICES)
    change(services)
    first = FirstStart(services, monkeypatch).run()
    assert (sorted(first.failures), first.early_rules) == (failed, early_rules)
    assert sorted(SERVICES.keys() - first.started.keys()) == missing
