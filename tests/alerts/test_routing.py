import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from barograph_server.alerts import rules_for
from barograph_server.alerts.routing import Policy, branch
from barograph_server.alerts.rule import Rule
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator.notify import destination
from tests.support.alerting import ODD, contracts, installation

OTHERS = "empty"
"""Receiver of alerts that are not ours."""
_HOOK = "http://127.0.0.1:9/"
"""Placeholder for contact point addresses, which are secrets and do not affect routing."""


def to_alertmanager(rules: Iterable[Rule], settings: AlertSettings) -> dict[str, Any]:
    """Convert contact points, policies and mute timings to an Alertmanager configuration, to be written as YAML."""
    return {
        "route": {
            "receiver": OTHERS,
            "group_by": ["grafana_folder", "alertname"],
            "routes": [_route(branch(rules, settings))],
        },
        "receivers": [
            {"name": OTHERS},
            *({"name": name, "webhook_configs": [{"url": _HOOK}]} for name in settings.contact_points),
        ],
        "time_intervals": [
            {"name": name, "time_intervals": [timing.interval]} for name, timing in settings.mute_timings.items()
        ],
    }


def _route(policy: Policy) -> dict[str, Any]:
    route: dict[str, Any] = {
        "receiver": policy.point,
        "matchers": [f"{label}{how}{_quoted(value)}" for label, how, value in policy.matchers],
    }
    if policy.group_by:
        route["group_by"] = list(policy.group_by)
    for key, seconds in (
        ("group_wait", policy.group_wait_s),
        ("group_interval", policy.group_interval_s),
        ("repeat_interval", policy.repeat_s),
    ):
        if seconds is not None:
            route[key] = f"{seconds}s"
    if policy.mute:
        route["mute_time_intervals"] = list(policy.mute)
    if policy.routes:
        route["routes"] = [_route(child) for child in policy.routes]
    return route


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


SETTINGS = installation()
RULES = rules_for(contracts(), SETTINGS)


@pytest.fixture(scope="module")
def amtool() -> str:
    result = shutil.which("amtool")
    if result is None:
        message = "amtool is missing: install the Debian package prometheus-alertmanager"
        if os.environ.get("CI"):
            raise AssertionError(message)
        pytest.skip(f"NOT TESTED, {message}")
    return result


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alertmanager") / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(to_alertmanager(RULES, SETTINGS), allow_unicode=True), "utf-8")
    return path


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def routed(amtool: str, config: Path, labels: dict[str, str]) -> str:
    arguments = [f"{name}={_quoted(value)}" for name, value in labels.items()]
    done = run(amtool, "config", "routes", "test", f"--config.file={config}", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_configuration_is_valid(amtool: str, config: Path, tmp_path: Path) -> None:
    done = run(amtool, "check-config", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump(to_alertmanager(rules_for(contracts(), AlertSettings()), AlertSettings())))
    assert run(amtool, "check-config", str(plain)).returncode == 0


def test_labels_are_routed_to_their_receiver(amtool: str, config: Path) -> None:
    for labels, receiver in (
        ({"source": "barograph", "route": "#risk", "severity": "page", "model": ODD}, "oncall"),
        ({"source": "barograph", "route": "#risk", "severity": "page", "mute": "retraining"}, "oncall"),
        ({"source": "barograph", "route": "#risk", "severity": "ticket"}, "tickets"),
        ({"source": "barograph", "route": "nulls", "severity": "page"}, "platform"),
        ({"source": "barograph", "route": "platform", "severity": "page"}, "platform"),
        ({"source": "barograph", "severity": "page"}, "tickets"),
        ({"source": "barograph", "route": "#risk", "severity": "page", "alertname": "DatasourceError"}, "platform"),
        ({"source": "else", "severity": "page"}, OTHERS),
    ):
        assert routed(amtool, config, labels) == receiver, labels


def test_alerts_of_every_rule_have_the_receiver_of_the_simulator(amtool: str, config: Path) -> None:
    tree = branch(RULES, SETTINGS)
    known = set()
    for rule in RULES:
        labels = rule.labels | {"alertname": rule.title}
        expected = SETTINGS.route(rule.route).point(rule.severity)
        assert destination(tree, labels).point == expected
        key = (rule.route, rule.severity, rule.labels.get("mute"))
        if key not in known:  # amtool takes a tenth of a second
            known.add(key)
            assert routed(amtool, config, labels) == expected
    assert len(known) > 5
