"""The compose file on the parts that run here: its validator, the broker, the engine. No Docker engine is needed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.streams.health.endpoint import DEFAULT_PORTS, Endpoint
from barograph_server.streams.health.watchdog import Health
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address, connect

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
PROCESSORS = ("sketcher", "recorder", "monitor", "scorer")


@pytest.fixture(scope="module")
def validator() -> Path:
    """The validator of the Compose Specification, which `make compose-validator` builds."""
    path = ROOT / ".cache/go/bin/cmd"
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail("the compose validator is missing: run `make compose-validator`")
        pytest.skip("NOT TESTED, the compose validator is missing: run `make compose-validator`")
    return path


REQUIRED = re.compile(r"\$\{(\w+):\?[^}]*\}")
PASSWORDS = sorted(set(REQUIRED.findall(FILE.read_text(encoding="utf-8"))))


def validate(validator: Path, folder: Path, text: str, *, missing: str = "") -> subprocess.CompletedProcess[str]:
    """Validate a compose file with all required variables but one; the validator itself reads no environment."""
    (folder / FILE.name).write_text(
        REQUIRED.sub(lambda match: match[0] if match[1] == missing else "secret", text), encoding="utf-8"
    )
    return subprocess.run([validator, FILE.name], cwd=folder, capture_output=True, text=True, check=False)


def test_the_file_conforms_to_the_specification(validator: Path, tmp_path: Path) -> None:
    done = validate(validator, tmp_path, FILE.read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(SERVICES)


def test_compose_refuses_to_start_without_a_password(validator: Path, tmp_path: Path) -> None:
    for missing in PASSWORDS:
        done = validate(validator, tmp_path, FILE.read_text(encoding="utf-8"), missing=missing)
        assert done.returncode != 0, missing
        assert f"{missing} is missing a value: run python3 deploy/create_env.py" in done.stderr


def test_the_broker_knows_every_property_of_its_service(broker: LocalKafka) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    resource = ConfigResource(ResourceType.BROKER, "1")
    known = admin.describe_configs([resource])[resource].result(30)
    configured = {
        variable.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for variable, value in SERVICES["kafka"]["environment"].items()
        if variable.startswith("KAFKA_")
    }
    assert set(configured) <= set(known)
    # Addresses and folders are the compose file's own; the rest is as in the local stack that tests run on.
    shared = {name for name in configured if not re.search(r"listener|voters|log\.dirs", name)}
    assert {name: configured[name] for name in shared} == {name: known[name].value for name in shared}


def test_the_server_has_the_version_of_the_engine_that_tests_run_on(engine: LocalClickHouse) -> None:
    with connect(engine.address("default")) as client:
        version = client.rows("SELECT version()")[0][0]
    tag = SERVICES["clickhouse"]["image"].rpartition(":")[2]
    assert version.startswith(f"{tag}.")


def test_the_health_check_reports_by_its_exit_code() -> None:
    commands = {kind: SERVICES[kind]["healthcheck"]["test"] for kind in PROCESSORS}
    local = {kind: f"127.0.0.1:{DEFAULT_PORTS[kind]}" for kind in PROCESSORS}
    kind = PROCESSORS[0]
    for other, words in commands.items():
        assert words == [word.replace(local[kind], local[other]) for word in commands[kind]], other
    assert local[kind] in commands[kind][-1]
    state = {"health": Health("working")}
    address = Address("127.0.0.1", 1, "none")
    settings = ProcessorSettings(instance="i", bootstrap_servers="b", warehouse=address, metrics_port=0)
    endpoint = Endpoint(settings, Report(kind, "i"), lambda: state["health"])
    endpoint.start()
    assert commands[kind][:2] == ["CMD", "python"]
    command = [sys.executable, *(word.replace(local[kind], endpoint.address) for word in commands[kind][2:])]
    try:
        for health, code in ((Health("working"), 0), (Health("waiting"), 0), (Health("stuck"), 1)):
            state["health"] = health
            assert subprocess.run(command, capture_output=True, check=False).returncode == code, health
    finally:
        endpoint.stop()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1, "no server answers"
