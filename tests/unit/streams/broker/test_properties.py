"""No secret of the installed librdkafka may be in a settings file."""

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Mapping
from pathlib import Path

import confluent_kafka
import pytest
from barograph.publisher.outbox import Outbox, PublishError
from confluent_kafka import Producer

from barograph_server.errors import SettingsError
from barograph_server.settings import load_settings
from barograph_server.streams.broker.client import Admin
from barograph_server.streams.broker.properties import may_hold_secret
from tests.support.pipeline import wait_for

SOUNDS_SECRET = re.compile(r"pass|secret|credential|token|key|pem|jaas|config$|cmd$")
"""Names that a person would check by hand."""
CHECKED = {
    "sasl.kerberos.keytab": "a path",
    "sasl.oauthbearer.assertion.private.key.file": "a path",
    "sasl.oauthbearer.client.credentials.client.id": "a name",
    "sasl.oauthbearer.token.endpoint.url": "an address",
    "ssl.ca.pem": "a certificate",
    "https.ca.pem": "a certificate",
    "ssl.certificate.pem": "a certificate",
    "ssl.key.location": "a path",
    "ssl.keystore.location": "a path",
}
"""The ones that a file may hold."""

MALFORMED = {
    "security.protocol": "sasl_plaintext",
    "sasl.mechanism": "OAUTHBEARER",
    "enable.sasl.oauthbearer.unsecure.jwt": "true",
    "sasl.oauthbearer.config": "principal=me password=xyzzy",
}
"""librdkafka quotes the last setting from the first word that it does not know."""


@pytest.fixture(scope="module")
def properties(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The name and the type of every property of the library that confluent-kafka loads."""
    (path,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*.so*")
    library, libc = ctypes.CDLL(str(path)), ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    table = tmp_path_factory.mktemp("librdkafka") / "properties.md"
    file = ctypes.c_void_p(libc.fopen(bytes(table), b"w"))
    library.rd_kafka_conf_properties_show(file)
    libc.fclose(file)
    rows = re.findall(r"^(\S+)\s*\|.*\*Type: (.*)\*\s*$", table.read_text(), re.MULTILINE)
    assert len(rows) > 100
    return dict(rows)


def test_a_file_may_hold_only_properties_that_were_checked(properties: Mapping[str, str]) -> None:
    texts = {name for name, kind in properties.items() if kind in ("string", "pattern list")}
    allowed = {name for name in properties if SOUNDS_SECRET.search(name) and not may_hold_secret(name)}
    assert allowed == CHECKED.keys() & properties.keys()
    assert {"sasl.password", "sasl.oauthbearer.config", "ssl.key.pem", "ssl.keystore.password"} <= texts
    page = (Path(__file__).resolve().parents[4] / "docs/security.md").read_text(encoding="utf-8")
    shown = re.findall(r"^((?:sasl|ssl)\.[a-z.]+) = ", page, re.MULTILINE)
    assert len(shown) > 4
    assert not [name for name in (*CHECKED, *shown) if may_hold_secret(name)]


def test_every_property_that_librdkafka_hides_in_its_log_is_a_secret(
    properties: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    texts = [name for name, kind in properties.items() if kind == "string" and name.startswith(("sasl", "ssl", "http"))]
    hidden = set()
    for name in texts:
        caplog.clear()
        logger = logging.getLogger("librdkafka-conf")
        with caplog.at_level(logging.DEBUG, "librdkafka-conf"):
            try:
                producer = Producer({name: "xyzzy", "debug": "conf"}, logger=logger)
            except confluent_kafka.KafkaException:
                continue
            producer.poll(0)
        hidden |= {name for line in caplog.messages if re.search(rf"\b{re.escape(name)} = \[redacted\]", line)}
    assert {"sasl.password", "ssl.key.password"} <= hidden
    assert {name for name in hidden if not may_hold_secret(name)} <= CHECKED.keys() | {"sasl.username"}


SECRETS = (
    *("sasl.password", "SASL.Password", "sasl.oauthbearer.config", "sasl.oauthbearer.client.secret"),
    *("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.assertion.private.key.passphrase"),
    *("sasl.oauthbearer.assertion.private.key.pem", "sasl.oauthbearer.token.that.a.later.version.adds"),
    *("sasl.jaas.config", "sasl.kerberos.kinit.cmd", "ssl.key.pem", "ssl.key.password", "ssl.keystore.password"),
    *("ssl.keystore.key", "proxy.credentials"),
)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_a_file_is_rejected_and_not_shown(tmp_path: Path, name: str) -> None:
    file = tmp_path / "barograph.toml"
    section, _, key = f"kafka.{name}".rpartition(".")
    variable = f"BAROGRAPH_KAFKA_{name.upper().replace('.', '_')}"
    for text in (f'[{section}]\n{key} = "xyzzy"\n', f'[kafka]\n"{name}" = "xyzzy"\n'):
        file.write_text(text)
        with pytest.raises(SettingsError) as error:
            load_settings(file, environ={}, needs=())
        assert f"may hold a secret and does not belong in a file; set {variable} in the environment" in str(error.value)
        assert "xyzzy" not in str(error.value)
    settings = load_settings(environ={variable: "xyzzy"}, needs=(), folder=tmp_path / "none", find=lambda: None)
    assert settings.kafka == {name.lower(): "xyzzy"}
    assert "xyzzy" not in repr(settings)


def test_a_token_endpoint_with_a_password_is_rejected(tmp_path: Path) -> None:
    file, name = tmp_path / "barograph.toml", "sasl.oauthbearer.token.endpoint.url"
    plain = "https://login.example.com/oauth2/token"
    secret = "https://user:xyzzy@login.example.com/token"
    for url in (plain, secret, "https://login.example.com/token?key=xyzzy"):
        file.write_text(f'[kafka]\n{name} = "{url}"\n')
        if url == plain:
            assert load_settings(file, environ={}, needs=()).kafka[name] == url
            continue
        with pytest.raises(SettingsError, match=r"may hold a secret") as error:
            load_settings(file, environ={}, needs=())
        assert "xyzzy" not in str(error.value)
    # librdkafka writes the address to its log when the endpoint does not answer.
    environ = {"BAROGRAPH_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": secret}
    with pytest.raises(SettingsError, match=r"TOKEN_ENDPOINT_URL holds a user name or a password") as error:
        load_settings(environ=environ, needs=(), folder=tmp_path / "none", find=lambda: None)
    assert "xyzzy" not in str(error.value)


def test_an_oauthbearer_config_that_librdkafka_rejects_is_not_shown() -> None:
    admin = Admin("127.0.0.1:9", MALFORMED)
    wait_for(lambda: admin.client.poll(0.1) or admin.explain(None, "answer").args[0].count("oauthbearer"), "the error")
    text = str(admin.explain(None, "answer"))
    assert "sasl.oauthbearer.config" in text
    assert "xyzzy" not in text
    # Nor does a publisher show it.
    outbox = Outbox({"bootstrap.servers": "127.0.0.1:9", "log_level": 0, **MALFORMED}, wait=True)
    try:
        with pytest.raises(PublishError, match=r"authentication .* sasl.oauthbearer.config\)") as error:
            outbox.fetch_partition_count("predictions", 2.0)
        assert "xyzzy" not in f"{error.value}{outbox.stats}"
    finally:
        outbox.close(0.0)
