"""The compose file, the image and the files that they mount, checked statically; test_compose.py runs real tools."""

import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from barograph_server.settings import GrafanaSettings, load_settings
from barograph_server.streams.health.endpoint import DEFAULT_PORTS
from barograph_server.warehouse.roles import ROLES

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
PROCESSORS = ("sketcher", "recorder", "monitor")


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].partition("@sha256:")[0].rpartition(":")[2]
    assert tag == "local" or re.fullmatch(r"\d+\.\d+(\.\d+)?", tag), SERVICES[name]["image"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_on_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), port


@pytest.mark.parametrize("name", SERVICES)
def test_passwords_come_from_the_environment_and_have_no_default(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if "PASSWORD" in variable:
            assert re.fullmatch(r"\$\{[A-Z_]+_PASSWORD:\?[\w ./]+\}", value), f"{name}: {variable}"


def test_no_two_users_share_a_password() -> None:
    sources: dict[str, set[str]] = {}
    for name in (*PROCESSORS, "scorer", "apply", "users"):
        environment = SERVICES[name]["environment"]
        user = environment["BAROGRAPH_CLICKHOUSE_USERNAME"]
        sources.setdefault(environment["BAROGRAPH_CLICKHOUSE_PASSWORD"], set()).add(user)
    assert all(len(users) == 1 for users in sources.values()), sources


def test_each_component_connects_as_the_user_of_its_own_role() -> None:
    users = {role.user for role in ROLES}
    for name in (*PROCESSORS, "scorer", "apply"):
        environment = SERVICES[name]["environment"]
        assert environment["BAROGRAPH_CLICKHOUSE_USERNAME"] == name
        assert name in users
        assert environment["BAROGRAPH_CLICKHOUSE_PASSWORD"].startswith(f"${{CLICKHOUSE_{name.upper()}_PASSWORD:?")
    passwords = {variable for variable in SERVICES["users"]["environment"] if variable.startswith("CLICKHOUSE_")}
    assert passwords == {f"CLICKHOUSE_{user.upper()}_PASSWORD" for user in users}
    admin = SERVICES["clickhouse"]["environment"]["CLICKHOUSE_USER"]
    as_admin = [
        name
        for name, service in SERVICES.items()
        if service.get("environment", {}).get("BAROGRAPH_CLICKHOUSE_USERNAME", admin) == admin
        and "CLICKHOUSE_ADMIN_PASSWORD" in str(service)
    ]
    assert as_admin == ["clickhouse", "users"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_have_no_more_privileges_and_resources_than_they_need(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+g", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert service.get("user", "101:101") == "101:101"
    if service["image"] == "barograph:local":
        assert service["read_only"] is True
        assert service["tmpfs"] == ["/tmp"]


def test_clickhouse_is_healthy_only_when_other_containers_reach_it() -> None:
    """While the image initializes, a temporary server listens on 127.0.0.1 only."""
    assert SERVICES["clickhouse"]["healthcheck"]["test"][-1] == "http://clickhouse:8123/ping"
    assert "CLICKHOUSE_DB" not in SERVICES["clickhouse"]["environment"], "it would start the temporary server"


def test_no_web_page_may_read_a_response_of_clickhouse() -> None:
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES["clickhouse"]["volumes"]}
    server = ElementTree.parse(ROOT / mounted["/etc/clickhouse-server/config.d/barograph.xml"]).getroot()
    users = ElementTree.parse(ROOT / mounted["/etc/clickhouse-server/users.d/barograph.xml"]).getroot()
    options = server.find("http_options_response")
    assert options is not None
    assert options.attrib == {"remove": "remove"}
    assert users.findtext("profiles/default/add_http_cors_header") == "0"
    assert users.find("profiles/default/constraints/add_http_cors_header/const") is not None


def test_every_volume_is_named_and_every_mounted_file_exists() -> None:
    used = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.rsplit(":/")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
            elif not source.startswith("${"):
                used.add(source)
    assert used == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", [*PROCESSORS, "apply"])
def test_settings_are_valid(name: str) -> None:
    environ = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
    settings = load_settings(environ=environ, folder=ROOT / "deploy", find=lambda: None)
    assert settings.bootstrap_servers == "kafka:19092"
    assert settings.warehouse.host == "clickhouse"
    assert settings.warehouse.username == name
    if name in PROCESSORS:
        # Without a fixed name each new container would be a new instance that does not fence its predecessor.
        assert settings.instance == f"{name}-1"
        assert f":{DEFAULT_PORTS[name]}/healthz" in SERVICES[name]["healthcheck"]["test"][-1]
        assert settings.processor().metrics_port is None


def test_grafana_reads_as_the_user_of_its_role() -> None:
    source = yaml.safe_load((ROOT / "deploy/grafana/clickhouse.yaml").read_text(encoding="utf-8"))["datasources"][0]
    (role,) = (role for role in ROLES if role.name == "barograph_grafana")
    assert source["jsonData"]["username"] == role.user
    assert GrafanaSettings(url="").reader == role.user, "`apply` writes the same user"
    assert source["jsonData"]["defaultDatabase"] == SERVICES["users"]["environment"]["BAROGRAPH_CLICKHOUSE_DATABASE"]
    # The service that sets the password and the one that sends it use the same variable.
    variable = f"CLICKHOUSE_{role.user.upper()}_PASSWORD"
    assert source["secureJsonData"] == {"password": f"${variable}"}
    assert SERVICES["users"]["environment"][variable] == SERVICES["grafana"]["environment"][variable]


def test_the_image_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    last_stage = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM ")) :]
    users = [line for line in last_stage if line.startswith("USER ")]
    assert users
    assert users[-1] != "USER root"


def test_the_build_context_contains_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }
    packages = {"src", *(path.name for path in (ROOT / "src/barograph_server").iterdir() if path.is_symlink())}
    files = {"pyproject.toml", "uv.lock", "tools/uv.txt"}
    assert {*packages, *project["tool"]["uv"]["workspace"]["members"], *files} <= included
