import json
import ssl
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from faust import SASLCredentials, SSLCredentials

from barograph_server.errors import EXIT_FAILED, ApplyError
from barograph_server.finding import FindingLevel
from barograph_server.operations.doctor.run_checks import run_checks
from barograph_server.settings import Settings, load_settings
from barograph_server.streams import run
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.monitor.app import faust_credentials
from barograph_server.streams.monitor.security import Security, security_of
from barograph_server.streams.unencrypted import is_loopback, unencrypted_connections
from barograph_server.warehouse.client import Address
from tests.support import command_line
from tests.support.secure_kafka import Certificates, require_openssl

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
    assert {(line["level"], line["event"]) for line in lines} == {("warning", "not encrypted")}
    assert [line["server"] for line in lines] == ["Kafka", "ClickHouse"]
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
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("barograph_server.provisioning.deploy.apply_all", Mock(side_effect=ApplyError("stop")))
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
    assert (first.subject, second.subject) == ("Kafka", "ClickHouse")
    assert first.level is second.level is FindingLevel.WARNING
    assert "xyzzy" not in f"{first}{second}"


LOGIN = {"sasl.username": "monitor", "sasl.password": "top-secret"}
SCRAM = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", **LOGIN}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    require_openssl()
    return Certificates(tmp_path_factory.mktemp("certificates"))


def test_without_settings_there_is_no_security_and_without_encryption_no_tls() -> None:
    assert security_of({}) == Security()
    assert security_of({"socket.timeout.ms": "5"}) == Security()
    assert faust_credentials(Security()) is None
    security = security_of(SCRAM | {"security.protocol": "sasl_plaintext"})
    assert (security.tls, faust_credentials(security).protocol.value) == (None, "SASL_PLAINTEXT")
    assert "top-secret" not in repr(security)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])
def test_passwords_are_translated(mechanism: str, name: str, certificates: Certificates) -> None:
    encrypted = {"security.protocol": "SASL_SSL", "ssl.ca.location": str(certificates.ca)}
    security = security_of({**encrypted, **LOGIN, name: mechanism})
    assert (security.protocol, security.mechanism) == ("sasl_ssl", mechanism)
    credentials = faust_credentials(security)
    assert isinstance(credentials, SASLCredentials)
    assert (credentials.username, credentials.password) == ("monitor", "top-secret")
    assert (credentials.mechanism.value, credentials.protocol.value) == (mechanism, "SASL_SSL")
    assert credentials.ssl_context is security.tls


def test_certificate_and_host_name_are_verified_and_each_can_be_left_out(certificates: Certificates) -> None:
    settings = {"security.protocol": "ssl", "ssl.ca.location": str(certificates.ca)}
    for change, verified in (
        ({}, (ssl.CERT_REQUIRED, True)),
        ({"ssl.endpoint.identification.algorithm": "none"}, (ssl.CERT_REQUIRED, False)),
        ({"enable.ssl.certificate.verification": "false"}, (ssl.CERT_NONE, False)),
    ):
        tls: Any = security_of(settings | change).tls
        assert (tls.verify_mode, tls.check_hostname) == verified
    tls = security_of(settings).tls
    assert [authority["subject"] for authority in tls.get_ca_certs()] == [((("commonName", "authority"),),)]
    assert isinstance(faust_credentials(Security("ssl", tls=tls)), SSLCredentials)


def test_certificates_are_files_or_texts(certificates: Certificates) -> None:
    certificate, key = certificates.issue("monitor")
    settings = {"security.protocol": "ssl", "ssl.ca.pem": certificates.ca.read_text()}
    assert security_of(settings | {"ssl.certificate.location": str(certificate), "ssl.key.location": str(key)}).tls
    texts = {"ssl.certificate.pem": certificate.read_text(), "ssl.key.pem": key.read_text()}
    assert security_of(settings | texts).tls


def test_settings_without_an_equivalent_are_rejected() -> None:
    for change, message in (
        ({"security.protocol": "sals_ssl"}, r"security.protocol is 'sals_ssl'. Use one of plaintext, ssl"),
        ({"sasl.mechanism": "GSSAPI"}, r"sasl.mechanism is GSSAPI. Use one of SCRAM-SHA-512"),
        ({"sasl.password": ""}, r"sasl_ssl, and sasl.password is not set"),
        ({"sasl.kerberos.keytab": "/k"}, r"no equivalent of sasl.kerberos.keytab"),
        ({"ssl.keystore.location": "/k.p12"}, r"no equivalent of ssl.keystore.location"),
        ({"ssl.ca.location": "/nowhere/ca.pem"}, r"ssl.ca.location cannot be used \(No such file"),
        ({"ssl.ca.pem": "no certificate"}, r"ssl.ca.pem cannot be used"),
        ({"ssl.key.location": "/nowhere/key"}, r"ssl.key.location is set without a certificate"),
        ({"ssl.cipher.suites": "NONE-SUCH"}, r"ssl.cipher.suites cannot be used"),
        ({"ssl.endpoint.identification.algorithm": "http"}, r"is 'http'. Use one of https, none"),
        ({"enable.ssl.certificate.verification": "no"}, r"is 'no'. Use one of true, false"),
    ):
        with pytest.raises(ProcessorError, match=message) as caught:
            security_of(SCRAM | change)
        assert "top-secret" not in str(caught.value)


def test_encrypted_key_without_password_is_an_error_and_no_prompt(certificates: Certificates, tmp_path: Path) -> None:
    certificate, key = certificates.issue("encrypted")
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:right", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    files = {"ssl.certificate.location": str(certificate), "ssl.key.location": str(locked)}
    settings = {"security.protocol": "ssl", **files}
    assert security_of(settings | {"ssl.key.password": "right"}).tls is not None
    for password in ({}, {"ssl.key.password": "wrong"}):
        with pytest.raises(ProcessorError, match=r"ssl.certificate.location and ssl.key.location cannot be used"):
            security_of(settings | password)
