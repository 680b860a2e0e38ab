"""The compose file on the parts that run here: its validator, the broker, the engine. No Docker engine is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from local.clickhouse import LocalClickHouse
from local.kafka import LocalKafka
from warehouse import migrate
from warehouse.client import Address, connect
from warehouse.errors import WarehouseError
from warehouse.tables import insert_rows

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


def validate(validator: Path, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([validator, file.name], cwd=file.parent, capture_output=True, text=True, check=False)


def test_the_file_conforms_to_the_specification(validator: Path) -> None:
    done = validate(validator, FILE)
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(SERVICES)


def test_the_validator_refuses_what_does_not_conform(validator: Path, tmp_path: Path) -> None:
    copy = tmp_path / FILE.name
    shutil.copy(FILE, copy)
    copy.write_text(copy.read_text(encoding="utf-8").replace("healthcheck:", "healthchek:", 1), encoding="utf-8")
    done = validate(validator, copy)
    assert done.returncode != 0
    assert "healthchek" in done.stderr


def test_the_broker_knows_every_property_of_its_service(broker: LocalKafka) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    resource = ConfigResource(ResourceType.BROKER, "1")
    known = admin.describe_configs([resource])[resource].result(30)
    given = {
        variable.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for variable, value in SERVICES["kafka"]["environment"].items()
        if variable.startswith("KAFKA_")
    }
    assert set(given) <= set(known)
    # Addresses and folders are the compose file's own; the rest is as in the local stack that tests run on.
    shared = {name for name in given if not re.search(r"listener|voters|log\.dirs", name)}
    assert {name: given[name] for name in shared} == {name: known[name].value for name in shared}


def test_the_server_has_the_version_of_the_engine_that_tests_run_on(engine: LocalClickHouse) -> None:
    with connect(Address(engine.host, engine.port, "default")) as client:
        version = client.rows("SELECT version()")[0][0]
    tag = SERVICES["clickhouse"]["image"].rpartition(":")[2]
    assert version.startswith(f"{tag}.")


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_processor_is_healthy_while_it_reports(engine: LocalClickHouse, database: str, kind: str) -> None:
    command = SERVICES[kind]["healthcheck"]["test"]
    assert command[:3] == ["CMD", "barograph", "query"]
    statement = command[3]
    instance = SERVICES[kind]["environment"]["BAROGRAPH_INSTANCE"]
    now_ms = int(time.time() * 1000)
    with connect(Address(engine.host, engine.port, database)) as client:
        migrate.apply(client)
        for wrong in (
            report(kind, "another", now_ms),
            report("other", instance, now_ms),
            report(kind, instance, now_ms - 120_000),
        ):
            insert_rows(client, "processors", [wrong])
            with pytest.raises(WarehouseError, match="throwIf"):
                client.rows(statement)
        insert_rows(client, "processors", [report(kind, instance, now_ms)])
        assert client.rows(statement) == [(0,)]


def test_the_health_check_tells_by_its_exit_code(engine: LocalClickHouse, database: str) -> None:
    servers = {
        "BAROGRAPH_CLICKHOUSE_HOST": engine.host,
        "BAROGRAPH_CLICKHOUSE_PORT": str(engine.port),
        "BAROGRAPH_CLICKHOUSE_DATABASE": database,
    }
    command = [sys.executable, "-m", "cli.main", *SERVICES["monitor"]["healthcheck"]["test"][2:]]

    def check() -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, **servers}
        return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)

    with connect(Address(engine.host, engine.port, database)) as client:
        migrate.apply(client)
        silent = check()
        assert silent.returncode == 1
        assert "Traceback" not in silent.stderr
        insert_rows(client, "processors", [report("monitor", "monitor-1", int(time.time() * 1000))])
        done = check()
        assert done.returncode == 0, done.stderr


def report(kind: str, instance: str, at_ms: int) -> dict[str, object]:
    return {
        "kind": kind,
        "instance": instance,
        "at": at_ms,
        "host": "here",
        "pid": 1,
        "started_at": at_ms,
        "lag": 0,
        "events": 0,
        "rate": 0.0,
        "retries": 0,
        "dead_letters": 0,
        "last_commit_at": at_ms,
        "details": {},
    }
