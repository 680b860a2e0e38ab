"""Kafka's security settings are translated for the monitor's consumer, or rejected with an explanation."""

import ssl
from pathlib import Path

import pytest
from faust import SASLCredentials, SSLCredentials

from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.monitor.app import faust_credentials
from barograph_server.streams.monitor.security import Security, security_of
from tests.support.secure_kafka import Certificates, require_openssl

SCRAM = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "monitor",
    "sasl.password": "top-secret",
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    require_openssl()
    return Certificates(tmp_path_factory.mktemp("certificates"))


def test_without_settings_there_is_no_security_and_without_encryption_no_tls() -> None:
    assert security_of({}) == Security()
    assert security_of({"socket.timeout.ms": "5"}) == Security()
    assert faust_credentials(Security()) is None
    security = security_of(SCRAM | {"security.protocol": "sasl_plaintext"})
    assert security.tls is None
    assert faust_credentials(security).protocol.value == "SASL_PLAINTEXT"
    assert "top-secret" not in repr(security_of(SCRAM | {"security.protocol": "sasl_plaintext"}))


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])
def test_passwords_are_translated(mechanism: str, name: str, certificates: Certificates) -> None:
    settings = {key: value for key, value in SCRAM.items() if key != "sasl.mechanism"}
    security = security_of({**settings, name: mechanism, "ssl.ca.location": str(certificates.ca)})
    assert (security.protocol, security.mechanism) == ("sasl_ssl", mechanism)
    credentials = faust_credentials(security)
    assert isinstance(credentials, SASLCredentials)
    assert (credentials.username, credentials.password) == ("monitor", "top-secret")
    assert (credentials.mechanism.value, credentials.protocol.value) == (mechanism, "SASL_SSL")
    assert credentials.ssl_context is security.tls


def test_certificate_and_host_name_are_verified_and_each_can_be_left_out(certificates: Certificates) -> None:
    settings = {"security.protocol": "ssl", "ssl.ca.location": str(certificates.ca)}
    tls = security_of(settings).tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert [authority["subject"] for authority in tls.get_ca_certs()] == [((("commonName", "authority"),),)]
    assert isinstance(faust_credentials(Security("ssl", tls=tls)), SSLCredentials)
    named = security_of(settings | {"ssl.endpoint.identification.algorithm": "none"}).tls
    assert named is not None
    assert (named.verify_mode, named.check_hostname) == (ssl.CERT_REQUIRED, False)
    trusting = security_of(settings | {"enable.ssl.certificate.verification": "false"}).tls
    assert trusting is not None
    assert trusting.verify_mode == ssl.CERT_NONE


def test_certificates_are_files_or_texts(certificates: Certificates, tmp_path: Path) -> None:
    certificate, key = certificates.issue("monitor")
    settings = {"security.protocol": "ssl", "ssl.ca.pem": certificates.ca.read_text()}
    by_file = security_of(settings | {"ssl.certificate.location": str(certificate), "ssl.key.location": str(key)})
    by_text = security_of(settings | {"ssl.certificate.pem": certificate.read_text(), "ssl.key.pem": key.read_text()})
    assert by_file.tls is not None
    assert by_text.tls is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"security.protocol": "sals_ssl"}, r"security.protocol is 'sals_ssl'. Use one of plaintext, ssl"),
        ({"sasl.mechanism": "GSSAPI"}, r"sasl.mechanism is GSSAPI. Use one of SCRAM-SHA-512"),
        ({"sasl.mechanism": ""}, r"sasl.mechanism is GSSAPI"),
        ({"sasl.password": ""}, r"sasl_ssl, and sasl.password is not set"),
        ({"sasl.kerberos.keytab": "/k"}, r"no equivalent of sasl.kerberos.keytab"),
        ({"ssl.keystore.location": "/k.p12"}, r"no equivalent of ssl.keystore.location"),
        ({"ssl.ca.location": "/nowhere/ca.pem"}, r"ssl.ca.location cannot be used \(No such file"),
        ({"ssl.ca.pem": "no certificate"}, r"ssl.ca.pem cannot be used"),
        ({"ssl.key.location": "/nowhere/key"}, r"ssl.key.location is set without a certificate"),
        ({"ssl.certificate.location": "/nowhere/c"}, r"ssl.certificate.location cannot be used"),
        ({"ssl.cipher.suites": "NONE-SUCH"}, r"ssl.cipher.suites cannot be used"),
        ({"ssl.endpoint.identification.algorithm": "http"}, r"is 'http'. Use one of https, none"),
        ({"enable.ssl.certificate.verification": "no"}, r"is 'no'. Use one of true, false"),
    ],
)
def test_settings_without_an_equivalent_are_rejected(change: dict[str, str], message: str) -> None:
    with pytest.raises(ProcessorError, match=message) as caught:
        security_of(SCRAM | change)
    assert "top-secret" not in str(caught.value)


def test_encrypted_key_without_password_is_an_error_and_no_prompt(certificates: Certificates, tmp_path: Path) -> None:
    import subprocess

    certificate, key = certificates.issue("encrypted")
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:right", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    settings = {
        "security.protocol": "ssl",
        "ssl.certificate.location": str(certificate),
        "ssl.key.location": str(locked),
    }
    assert security_of(settings | {"ssl.key.password": "right"}).tls is not None
    for password in ({}, {"ssl.key.password": "wrong"}):
        with pytest.raises(ProcessorError, match=r"ssl.certificate.location and ssl.key.location cannot be used"):
            security_of(settings | password)
