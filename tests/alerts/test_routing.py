"""Routes according to amtool of Alertmanager: the configuration is valid, and the alerts of every rule are routed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from barograph_server.alerts import rules_for
from barograph_server.alerts.routing import branch
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator.notify import destination
from tests.support.alerting import ODD, contracts, installation
from tests.support.alertmanager import OTHERS, to_alertmanager

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


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


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
        ({"source": "barograph", "route": "#risk", "severity": "page", "alertname": "DatasourceNoData"}, "platform"),
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
