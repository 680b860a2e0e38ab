"""A new Grafana starts from the files that the compose file mounts; faults of earlier files stop it or are visible."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from barograph_server.alerts.example import example_contracts, example_settings
from barograph_server.alerts.schema import faults
from barograph_server.dashboards.uids import DASHBOARDS
from barograph_server.provisioning.grafana import build_resources
from barograph_server.settings import GrafanaSettings, Settings
from tests.support.grafana_provisioning import (
    DATA_SOURCE,
    PROVISIONING,
    ROOT,
    Mounted,
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
    assert len(state.dashboards) == len(DASHBOARDS)
    assert state.groups
    # The files alone are complete: they need no receiver that a new Grafana happens to have.
    assert set(receivers(state.tree)) == {point["name"] for point in state.points}
    addresses = [value for name, value in SERVICE["environment"].items() if f"${name}" in files[POINTS]]
    assert len(addresses) == 3
    assert all(":-" in value and not value.endswith(":-}") for value in addresses), "a point without one stops Grafana"


def test_links_of_alerts_are_absolute_and_lead_to_mounted_runbooks(files: Mounted) -> None:
    state = GrafanaState()
    start(state, files, ENVIRON)
    rules = [rule for group in state.groups.values() for rule in group["rules"]]
    assert rules
    for rule in rules:
        page, runbook = rule["annotations"]["page"], rule["annotations"]["runbook_url"]
        assert page.startswith('{{ reReplaceAll "/$" "" externalURL }}/d/barograph-'), page
        path = runbook.removeprefix('{{ reReplaceAll "/$" "" externalURL }}/')
        # Grafana serves its folder `public` under this path.
        shows, _, name = path.partition("?page=")
        folder = (PurePosixPath("/usr/share/grafana") / shows).parent
        assert {folder / "show.html", folder / name} <= files.keys(), runbook
    assert SERVICE["environment"]["GF_SERVER_ROOT_URL"] == "${GRAFANA_URL:-http://localhost:3000}"


def folders(files: Mounted) -> list[tuple[str, str]]:
    state = GrafanaState()
    start(state, files, ENVIRON)
    start(state, files, ENVIRON)
    content = {uid: "rules" for uid, _ in state.groups}
    content |= {each["folder"]: "dashboards" for each in state.dashboards.values()}
    return sorted((folder["title"], content[uid]) for uid, folder in state.folders.items())


def test_no_two_folders_have_the_same_title(files: Mounted) -> None:
    assert folders(files) == [("Barograph", "dashboards"), ("Barograph alerts", "rules")]
    # Rules are provisioned first, into a folder with a random uid, which the provider with its uid does not find.
    for path, text in files.items():
        files[path] = text.replace("folder: Barograph alerts", "folder: Barograph")
    assert folders(files) == [("Barograph", "dashboards"), ("Barograph", "rules")]


def test_files_and_apply_use_the_same_folders(files: Mounted) -> None:
    state = GrafanaState()
    start(state, files, ENVIRON)
    settings = Settings(grafana=GrafanaSettings(url="http://g", reader_password="x"), alerts=example_settings())
    source, *others = build_resources({each.model: each for each in example_contracts()}, settings, ENVIRON)
    assert not list(faults(source.desired, DATA_SOURCE))
    titles = {each.key: each.name for each in others if each.kind == "folder"}
    assert state.folders["barograph"]["title"] == titles["barograph"]
    assert {folder["title"] for folder in state.folders.values()} == set(titles.values())


def test_grafana_reads_every_key_of_the_files(files: Mounted) -> None:
    assert key_faults(files) == []
    for path, key in ((POLICIES, "groupBy"), (POINTS, "receiver")):
        content = yaml.safe_load(files[path])
        next(value for value in content.values() if isinstance(value, list))[0][key] = "x"
        (fault,) = key_faults({**files, path: yaml.safe_dump(content)})
        assert fault.endswith(f".{key}: is no key that Grafana reads here")
