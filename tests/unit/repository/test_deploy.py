"""The compose file, the image and the files that they mount, checked statically; test_compose.py runs real tools."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from cli.settings import load_settings
from streams.health.endpoint import DEFAULT_PORTS

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
PROCESSORS = ("sketcher", "recorder", "monitor")


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert tag == "local" or re.fullmatch(r"\d+\.\d+(\.\d+)?", tag), SERVICES[name]["image"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_on_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), port


@pytest.mark.parametrize("name", SERVICES)
def test_passwords_come_from_the_environment(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if "PASSWORD" in variable:
            assert re.fullmatch(r"\$\{[A-Z_]+:-[a-z-]+\}", value), f"{name}: {variable}"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_all_services_except_apply_restart_and_have_health_checks(name: str) -> None:
    service = SERVICES[name]
    if name == "apply":
        assert service["restart"] == "no"
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"


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
    assert settings.warehouse.username == SERVICES["clickhouse"]["environment"]["CLICKHOUSE_USER"]
    assert environ["BAROGRAPH_CLICKHOUSE_PASSWORD"] == SERVICES["clickhouse"]["environment"]["CLICKHOUSE_PASSWORD"]
    if name in PROCESSORS:
        # Without a fixed name each new container would be a new instance that does not fence its predecessor.
        assert settings.instance == f"{name}-1"
        assert f":{DEFAULT_PORTS[name]}/healthz" in SERVICES[name]["healthcheck"]["test"][-1]
        assert settings.processor().metrics_port is None


@pytest.mark.parametrize("name", PROCESSORS)
def test_processors_wait_for_apply(name: str) -> None:
    assert SERVICES[name]["depends_on"] == {"apply": {"condition": "service_completed_successfully"}}


def test_grafana_reads_as_a_user_that_cannot_write() -> None:
    source = yaml.safe_load((ROOT / "deploy/grafana/clickhouse.yaml").read_text(encoding="utf-8"))["datasources"][0]
    users = ElementTree.parse(ROOT / "deploy/clickhouse/reader.xml").getroot()
    name = source["jsonData"]["username"]
    user = users.find(f"users/{name}")
    assert user is not None
    assert users.findtext(f"profiles/{user.findtext('profile')}/readonly") == "1"
    grants = user.findtext("grants/query")
    assert grants is not None
    assert re.fullmatch(r"GRANT SELECT, SHOW ON (\w+)\.\*", grants)
    assert source["jsonData"]["defaultDatabase"] in grants
    password = user.find("password")
    assert password is not None
    assert not password.text
    # The server that checks the password and the one that sends it use the same variable.
    variable = password.attrib["from_env"]
    assert source["secureJsonData"] == {"password": f"${variable}"}
    assert SERVICES["clickhouse"]["environment"][variable] == SERVICES["grafana"]["environment"][variable]


def test_the_plugin_is_installed_before_grafana_starts() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_PLUGINS_PREINSTALL_SYNC"] == "grafana-clickhouse-datasource@4.20.0"
    assert "GF_INSTALL_PLUGINS" not in environment


@pytest.mark.parametrize("name", ["Dockerfile", "tools/uv"])
def test_uv_is_installed_by_its_hash(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    (install,) = re.findall(r"pip install .*", text)
    assert "--require-hashes" in install
    assert "tools/uv.txt" in install
    assert "--no-deps" in install
    assert "--only-binary :all:" in install


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
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    files = {"pyproject.toml", "uv.lock", "tools/uv.txt"}
    assert {*packages, *project["tool"]["uv"]["workspace"]["members"], *files} <= included


def test_the_image_excludes_grafanas_client() -> None:
    """Its HTTP library would replace the one that clickhouse-connect uses (docs/decisions/0019)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert not [name for name in project["project"]["dependencies"] if name.startswith(("grafana-client", "niquests"))]
    assert project["dependency-groups"]["grafana"] == ["grafana-client==5.1.4"]
    assert project["tool"]["uv"]["extra-build-variables"]["urllib3-future"] == {"URLLIB3_NO_OVERRIDE": "1"}
    assert "urllib3-future" in project["tool"]["uv"]["no-binary-package"]
    (installs,) = re.findall(r"uv sync (?:[^\n]*\\\n)*[^\n]*", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert "--no-default-groups" in installs
    assert "--group" not in installs.replace("--no-default-groups", "")
