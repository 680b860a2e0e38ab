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


def ping_itself_and_give_up(services: Any) -> None:
    ping_itself(services)
    services["users"]["restart"] = "no"


def apply_at_once_and_give_up(services: Any) -> None:
    del services["apply"]["depends_on"]["kafka"]
    services["apply"]["restart"] = "no"


def show_at_once(services: Any) -> None:
    del services["grafana"]["depends_on"]


def process_at_once(services: Any) -> None:
    del services["monitor"]["depends_on"]


def outcome(first: FirstStart) -> dict[str, Any]:
    missing = sorted(SERVICES.keys() - first.started.keys())
    return {"failed": sorted(first.failures), "missing": missing, "early rules": first.early_rules}


NONE = {"failed": [], "missing": [], "early rules": False}
ALL_AFTER_APPLY = sorted(["grafana", *PROCESSORS])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (ping_itself, {"failed": ["users"]}),
        (ping_itself_and_give_up, {"failed": ["users"], "missing": sorted(["apply", "users", *ALL_AFTER_APPLY])}),
        (apply_at_once_and_give_up, {"failed": ["apply"], "missing": sorted(["apply", *ALL_AFTER_APPLY])}),
        (show_at_once, {"early rules": True}),
        (process_at_once, {"failed": ["monitor"]}),
    ],
)
def test_each_race_of_a_first_start_is_visible(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None], expected: dict[str, Any]
) -> None:
    services = copy.deepcopy(SERVICES)
    change(services)
    assert outcome(FirstStart(services, monkeypatch).run()) == {**NONE, **expected}
