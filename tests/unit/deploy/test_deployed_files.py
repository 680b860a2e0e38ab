import re
import tomllib
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from barograph_server.alerts.example import example_contracts, example_settings
from barograph_server.alerts.schema import faults
from barograph_server.dashboards.style import GRAFANA_VERSION
from barograph_server.dashboards.uids import DASHBOARDS
from barograph_server.local.kafka_jars import KAFKA_VERSION
from barograph_server.provisioning.grafana import build_resources
from barograph_server.settings import GrafanaSettings, Settings, load_settings
from barograph_server.streams.settings import DEFAULT_PORTS
from barograph_server.warehouse.roles import ROLES
from tests.support.grafana_provisioning import DATA_SOURCE, PROVISIONING, Mounted, key_faults, mounted_files, start
from tests.support.grafana_state import GrafanaState, routes_of
from tests.support.pipeline import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
PROCESSORS = tuple(DEFAULT_PORTS)
USERS = {"otlp": "sketcher", "users": "admin"}
"""Users of services that have none of their own name."""


def tag_of(name: str) -> str:
    image: str = SERVICES[name]["image"]
    return image.partition("@sha256:")[0].rpartition(":")[2]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_and_has_no_more_access_and_resources_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"local|\d+\.\d+(\.\d+)?", tag_of(name)), service["image"]
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), port
    for variable, value in service.get("environment", {}).items():
        if "PASSWORD" in variable:
            assert re.fullmatch(r"\$\{[A-Z_]+_PASSWORD:\?[\w ./]+\}", value), f"{variable} has a value or a default"
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+g", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert service.get("user", "101:101") == "101:101"
    if service["image"] == "barograph:local":
        assert service["read_only"] is True
        assert service["tmpfs"] == ["/tmp"]


def test_readme_names_the_tested_versions_which_are_those_of_the_images() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    engine = next(package["version"] for package in lock if package["name"] == "chdb-core").rpartition(".")[0]
    versions = f"Kafka {KAFKA_VERSION}, ClickHouse's engine {engine}, `@grafana/data` {GRAFANA_VERSION}."
    assert versions in (ROOT / "README.md").read_text("utf-8")
    images = {name: tag_of(name) for name in ("kafka", "clickhouse", "grafana")}
    assert images == {"kafka": KAFKA_VERSION, "clickhouse": engine, "grafana": GRAFANA_VERSION}


def test_each_component_connects_as_the_user_of_its_own_role() -> None:
    admin, users = SERVICES["clickhouse"]["environment"]["CLICKHOUSE_USER"], {role.user for role in ROLES}
    for name in (*PROCESSORS, "apply", "users"):
        environment = SERVICES[name]["environment"]
        user = USERS.get(name, name)
        assert environment["BAROGRAPH_CLICKHOUSE_USERNAME"] == user
        assert user in {*users, admin}
        assert environment["BAROGRAPH_CLICKHOUSE_PASSWORD"].startswith(f"${{CLICKHOUSE_{user.upper()}_PASSWORD:?")
    passwords = {variable for variable in SERVICES["users"]["environment"] if variable.startswith("CLICKHOUSE_")}
    assert passwords == {f"CLICKHOUSE_{user.upper()}_PASSWORD" for user in users}
    as_admin = [
        name
        for name, service in SERVICES.items()
        if service.get("environment", {}).get("BAROGRAPH_CLICKHOUSE_USERNAME", admin) == admin
        and "CLICKHOUSE_ADMIN_PASSWORD" in str(service)
    ]
    assert as_admin == ["clickhouse", "users"]


def test_clickhouse_is_healthy_only_when_other_containers_reach_it() -> None:
    """While the image initializes, a temporary server listens on 127.0.0.1 only."""
    assert SERVICES["clickhouse"]["healthcheck"]["test"][-1] == "http://clickhouse:8123/ping"
    assert "CLICKHOUSE_DB" not in SERVICES["clickhouse"]["environment"], "it would start the temporary server"


def test_no_web_page_may_read_a_response_of_clickhouse() -> None:
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES["clickhouse"]["volumes"]}
    server = ElementTree.parse(ROOT / mounted["/etc/clickhouse-server/config.d/barograph.xml"]).getroot()
    users = ElementTree.parse(ROOT / mounted["/etc/clickhouse-server/users.d/barograph.xml"]).getroot()
    assert [each.attrib for each in server.findall("http_options_response")] == [{"remove": "remove"}]
    assert users.findtext("profiles/default/add_http_cors_header") == "0"
    assert users.find("profiles/default/constraints/add_http_cors_header/const") is not None


def test_every_volume_is_named_and_every_mounted_file_exists() -> None:
    used = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.rsplit(":/")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists() or source == "./dist/site", source  # `make docs` builds it
            elif not source.startswith("${"):
                used.add(source)
    assert used == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", [*PROCESSORS, "apply"])
def test_settings_are_valid(name: str) -> None:
    variables = SERVICES[name]["environment"].items()
    environ = {key: re.sub(r"\$\{\w+:-(.*)\}", r"\1", str(value)) for key, value in variables}
    settings = load_settings(environ=environ, folder=ROOT / "deploy", find=lambda: None)
    assert settings.bootstrap_servers == "kafka:19092"
    assert settings.warehouse.host == "clickhouse"
    assert settings.warehouse.username == USERS.get(name, name)
    if name in PROCESSORS:
        # Without a fixed name each new container would be a new instance that does not fence its predecessor.
        assert settings.instance == f"{name}-1"
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
    assert [line for line in last_stage if line.startswith("USER ")][-1] != "USER root"


def test_the_build_context_contains_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE))
    packages = {"src", *(path.name for path in (ROOT / "src/barograph_server").iterdir() if path.is_symlink())}
    files = {"pyproject.toml", "uv.lock", "tools/uv.txt"}
    assert {*packages, *project["tool"]["uv"]["workspace"]["members"], *files} <= included


SERVICE: dict[str, Any] = SERVICES["grafana"]
ENVIRON = {name: f"value of {name}" for name in SERVICE["environment"]}
POLICIES = PROVISIONING / "alerting/policies.yaml"
POINTS = PROVISIONING / "alerting/contact-points.yaml"


@pytest.fixture
def files() -> Mounted:
    return mounted_files(SERVICE["volumes"])


def started(files: Mounted) -> GrafanaState:
    """Start Grafana, and again on the state of its volume."""
    state = GrafanaState()
    for _ in range(2):
        start(state, files, ENVIRON)
    return state


def test_a_new_grafana_starts_and_knows_every_receiver(files: Mounted) -> None:
    state = started(files)
    assert state.sources["barograph"]["readOnly"]
    assert len(state.dashboards) == len(DASHBOARDS)
    assert state.groups
    # The files alone are complete: they need no receiver that a new Grafana happens to have.
    assert {route["receiver"] for route in routes_of(state.tree)} == {point["name"] for point in state.points}
    addresses = [value for name, value in SERVICE["environment"].items() if f"${name}" in files[POINTS]]
    assert len(addresses) == 3
    assert all(":-" in value and not value.endswith(":-}") for value in addresses), "a point without one stops Grafana"


def test_links_of_alerts_are_absolute_and_lead_to_mounted_runbooks(files: Mounted) -> None:
    rules = [rule for group in started(files).groups.values() for rule in group["rules"]]
    assert rules
    for rule in rules:
        page, runbook = rule["annotations"]["page"], rule["annotations"]["runbook_url"]
        assert page.startswith('{{ reReplaceAll "/$" "" externalURL }}/d/barograph-'), page
        path = runbook.removeprefix('{{ reReplaceAll "/$" "" externalURL }}/')
        # Grafana serves its folder `public` under this path, where the site of `make docs` is mounted.
        page = path.removeprefix("public/docs/").removesuffix(".html")
        assert (ROOT / f"docs/{page}.md").is_file(), runbook
    assert "./dist/site:/usr/share/grafana/public/docs:ro" in SERVICE["volumes"]
    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    assert (site["site_dir"], site["use_directory_urls"]) == ("dist/site", False)
    assert SERVICE["environment"]["GF_SERVER_ROOT_URL"] == "${GRAFANA_URL:-http://localhost:3000}"


def folders(files: Mounted) -> list[tuple[str, str]]:
    state = started(files)
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
    state = started(files)
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
