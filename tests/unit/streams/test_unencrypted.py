import json
from pathlib import Path
from unittest.mock import Mock

import pytest

from barograph_server.errors import EXIT_FAILED, ApplyError
from barograph_server.finding import FindingLevel
from barograph_server.operations.doctor.run_checks import run_checks
from barograph_server.settings import Settings, load_settings
from barograph_server.streams import run
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.unencrypted import is_loopback, unencrypted_connections
from barograph_server.warehouse.client import Address
from tests.support import command_line

SASL = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}


def servers(bootstrap_servers: str = "", kafka: dict[str, str] | None = None, **warehouse: object) -> list[str]:
    address = Address(**warehouse)  # type: ignore[arg-type]
    return [each.server for each in unencrypted_connections(bootstrap_servers, kafka or {}, address)]


def test_passwords_to_this_machine_and_to_others() -> None:
    for host in ("127.0.0.1", "127.8.0.1", "localhost", "LocalHost.", "db.localhost", "::1", "[::1]"):
        assert is_loopback(host), host
        assert not servers(f"{host}:9092" if host != "::1" else "[::1]:9092", SASL, host=host, password="xyzzy"), host
    for host in ("clickhouse", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com", "fe80::1"):
        assert not is_loopback(host), host
        assert servers(host=host, password="xyzzy") == ["ClickHouse"], host
        assert servers(host=host, password="xyzzy", secure=True) == servers(host=host) == []


@pytest.mark.parametrize(
    ("bootstrap_servers", "expected"),
    [("k1:9092,k2:9092", ["Kafka"]), ("localhost:9092, 127.0.0.1:9093", []), ("SASL_PLAINTEXT://k1:9092", ["Kafka"])],
)
def test_sasl_without_tls(bootstrap_servers: str, expected: list[str]) -> None:
    assert servers(bootstrap_servers, SASL) == expected
    assert servers(bootstrap_servers, SASL | {"security.protocol": "sasl_plaintext"}) == expected
    assert servers(bootstrap_servers, SASL | {"security.protocol": "SASL_SSL"}) == []


ENVIRON = {
    "BAROGRAPH_BOOTSTRAP_SERVERS": "kafka.invalid:9092",
    "BAROGRAPH_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "BAROGRAPH_KAFKA_SASL_PASSWORD": "xyzzy",
    "BAROGRAPH_CLICKHOUSE_HOST": "clickhouse.invalid",
    "BAROGRAPH_CLICKHOUSE_PASSWORD": "xyzzy",
}


def installation(tmp_path: Path) -> Settings:
    return load_settings(environ=ENVIRON, folder=tmp_path, find=lambda: None)


@pytest.mark.parametrize("kind", ["sketcher", "recorder", "monitor", "scorer"])
def test_a_processor_logs_the_warnings_at_its_start(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("barograph_server.streams.run.run_until_signal", lambda *_: 0)
    getattr(run, f"run_{kind}")(installation(tmp_path).processor())
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(line["level"], line["event"], line["server"]) for line in lines] == [
        ("warning", "not encrypted", "Kafka"),
        ("warning", "not encrypted", "ClickHouse"),
    ]
    assert "clickhouse.secure = true" in lines[1]["action"]
    assert "xyzzy" not in str(lines)


def test_a_sketcher_without_its_acls_stops_its_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = Mock()
    monkeypatch.setattr(run, "ProcessorServices", lambda *_: services)
    monkeypatch.setattr(run, "require_acls", Mock(side_effect=ProcessorError("no ACLs")))
    monkeypatch.setattr(run, "run_until_signal", lambda kind, instance, work: work(None))
    with pytest.raises(ProcessorError, match="no ACLs"):
        run.run_sketcher(installation(tmp_path).processor())
    assert [name for name, *_ in services.method_calls] == ["start", "stop"], "and it reads nothing"


def test_apply_prints_the_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ApplyError("stop")

    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("barograph_server.provisioning.deploy.apply_all", fail)
    assert command_line.run("apply") == EXIT_FAILED
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("Warning: The connection to ") == 2
    assert output.err.endswith("stop\n")
    assert "Set clickhouse.secure = true" in output.err
    assert "xyzzy" not in output.err


def test_doctor_reports_the_warnings_before_it_connects(tmp_path: Path) -> None:
    findings = run_checks(installation(tmp_path))
    first, second = next(findings), next(findings)
    assert [(each.subject, each.level) for each in (first, second)] == [
        ("Kafka", FindingLevel.WARNING),
        ("ClickHouse", FindingLevel.WARNING),
    ]
    assert "xyzzy" not in f"{first}{second}"
