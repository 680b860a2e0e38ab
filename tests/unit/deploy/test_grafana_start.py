"""A new Grafana starts from the files that the compose file mounts; faults of earlier files stop it or are visible."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.grafana_provisioning import (
    PROVISIONING,
    ROOT,
    Mounted,
    StartError,
    key_faults,
    mounted_files,
    start,
)
from tests.support.grafana_state import GrafanaState, routes_of

SERVICE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]["grafana"]
ENVIRON = {name: f"value of {name}" for name in SERVICE["environment"]}
POLICIES = PROVISIONING / "alerting/policies.yaml"
POINTS = PROVISIONING / "alerting/contact-points.yaml"


@pytest.fixture
def files() -> Mounted:
    return mounted_files(SERVICE["volumes"])


def receivers(tree: dict[str, Any]) -> Iterator[str]:
    yield from (route["receiver"] for route in routes_of(tree))


def test_a_new_grafana_starts_and_knows_every_receiver(files: Mounted) -> None:
    state = GrafanaState()
    start(state, files, ENVIRON)
    assert state.sources["barograph"]["readOnly"]
    assert len(state.dashboards) == 4
    assert state.groups
    # The files alone are complete: they need no receiver that a new Grafana happens to have.
    assert set(receivers(state.tree)) == {point["name"] for point in state.points}


def test_grafana_13_exits_if_the_policies_name_an_undefined_receiver(files: Mounted) -> None:
    """Before 12.4 a new Grafana had the receiver `grafana-default-email`."""
    policies = yaml.safe_load(files[POLICIES])
    policies["policies"][0]["receiver"] = "grafana-default-email"
    files[POLICIES] = yaml.safe_dump(policies)
    with pytest.raises(StartError, match="receiver 'grafana-default-email' does not exist"):
        start(GrafanaState(), files, ENVIRON)


def test_grafana_exits_if_a_contact_point_has_no_address(files: Mounted) -> None:
    with pytest.raises(StartError, match="contact point tickets: url is empty"):
        start(GrafanaState(), files, {**ENVIRON, "SLACK_WEBHOOK_URL": ""})
    compose = SERVICE["environment"]
    named = [name for name in compose if f"${name}" in files[POINTS]]
    assert len(named) == 3
    assert all(":-" in compose[name] and not compose[name].endswith(":-}") for name in named)


def test_grafana_reads_every_key_of_the_files(files: Mounted) -> None:
    assert key_faults(files) == []


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("datasources/clickhouse.yaml", "password"),
        ("dashboards/barograph.yaml", "folderUID"),
        ("alerting/policies.yaml", "groupBy"),
        ("alerting/mute-timings.yaml", "interval"),
    ],
)
def test_a_key_that_grafana_ignores_is_reported(files: Mounted, path: str, key: str) -> None:
    content = yaml.safe_load(files[PROVISIONING / path])
    first = next(value for value in content.values() if isinstance(value, list))[0]
    first[key] = "x"
    files[PROVISIONING / path] = yaml.safe_dump(content)
    (fault,) = key_faults(files)
    assert fault.endswith(f".{key}: is no key that Grafana reads here")
