"""A Kafka broker with ACLs on two listeners, SASL_SSL with SCRAM and SSL with certificates. Tests use its own listener
without authentication, whose user is the superuser."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from barograph_server.local.kafka import LocalKafka
from barograph_server.provisioning.access.acls import UserAcl, acl_lines
from barograph_server.streams.broker.acl import Acl
from tests.support.missing_dependencies import skip_or_fail
from tests.support.pipeline import wait_for

SASL, MTLS = "SECURE", "MTLS"
ITERATIONS = 4096
_JAAS = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_TYPES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "transactional-id": ResourceType.TRANSACTIONAL_ID}


class Certificates:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._openssl("-keyout", folder / "ca.key", "-out", self.ca, "-subj", "/CN=authority")

    def issue(self, name: str) -> tuple[Path, Path]:
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        if not certificate.exists():
            self._openssl(
                *("-CA", self.ca, "-CAkey", self._folder / "ca.key", "-keyout", key, "-out", certificate),
                *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
                *("-addext", "basicConstraints=critical,CA:FALSE"),
            )
        return certificate, key

    def _openssl(self, *words: object) -> None:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        command = ["openssl", "req", "-x509", *curve, "-days", "2", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def require_openssl() -> None:
    if not shutil.which("openssl"):
        skip_or_fail("openssl is missing")


@dataclass(frozen=True)
class SecureKafka:
    broker: LocalKafka
    certificates: Certificates

    @property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.broker.bootstrap_servers})

    @property
    def sasl_servers(self) -> str:
        return self.broker.servers_of(SASL)

    @property
    def mtls_servers(self) -> str:
        return self.broker.servers_of(MTLS)

    def add_user(self, name: str, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        password = f"secret-of-{name}"
        info = ScramCredentialInfo(getattr(ScramMechanism, mechanism.replace("-", "_")), ITERATIONS)
        change = UserScramCredentialUpsertion(name, info, password.encode())
        admin = self.admin
        for future in admin.alter_user_scram_credentials([change]).values():
            future.result(30)
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": mechanism,
            "sasl.username": name,
            "sasl.password": password,
            "ssl.ca.location": str(self.certificates.ca),
        }

    def certified(self, name: str) -> dict[str, str]:
        certificate, key = self.certificates.issue(name)
        return {
            "security.protocol": "SSL",
            "ssl.ca.location": str(self.certificates.ca),
            "ssl.certificate.location": str(certificate),
            "ssl.key.location": str(key),
        }

    def grant_acls(self, user: str, acls: Iterable[Acl]) -> None:
        self.grant([UserAcl(user, "a test's", tuple(acls))])

    def grant(self, users: Iterable[UserAcl]) -> None:
        bindings = [binding for line in acl_lines(list(users), "") for binding in bindings_of(line)]
        admin = self.admin
        for future in admin.create_acls(bindings).values():
            future.result(30)
        # The controller has stored the ACLs; the broker applies them a moment later.
        for user in {binding.principal.removeprefix("User:") for binding in bindings}:
            own: list[Any] = [binding for binding in bindings if binding.principal == f"User:{user}"]
            expected = {(acl.restype.name, acl.name, acl.operation.name) for acl in own}
            wait_for(lambda: expected <= self.listed(user), f"the ACLs of {user}", 30)  # noqa: B023

    def listed(self, user: str) -> set[tuple[str, str, str]]:
        anything = cast(str, None)  # the stub does not allow for it
        name, who = (ResourceType.ANY, anything, ResourcePatternType.ANY), (f"User:{user}", anything)
        admin, binding_filter = self.admin, AclBindingFilter(*name, *who, AclOperation.ANY, AclPermissionType.ANY)
        stored = admin.describe_acls(binding_filter).result(30)
        return {(acl.restype.name, acl.name, acl.operation.name) for acl in stored}


def bindings_of(command: str) -> list[AclBinding]:
    """The ACLs that a printed command of kafka-acls.sh adds; none for a comment."""
    words = shlex.split(command, comments=True)
    if not words:
        return []
    assert words[0] == "kafka-acls.sh"
    words = words[1:]
    words.remove("--add")
    arguments: dict[str, list[str]] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        arguments.setdefault(name.removeprefix("--"), []).append(value)
    (user,) = arguments["allow-principal"]
    pattern = ResourcePatternType[arguments.get("resource-pattern-type", ["literal"])[0].upper()]
    return [
        AclBinding(_TYPES[kind], name, pattern, user, "*", AclOperation[operation], AclPermissionType.ALLOW)
        for kind in _TYPES
        for name in arguments.get(kind, [])
        for operation in (re.sub(r"\B(?=[A-Z])", "_", name).upper() for name in arguments["operation"])
    ]


def make_secure_kafka(folder: Path) -> SecureKafka:
    certificates = Certificates(folder)
    certificate, key = certificates.issue("broker")
    store = folder / "broker-store.pem"
    store.write_text(key.read_text() + certificate.read_text())
    mechanisms = ("SCRAM-SHA-512", "SCRAM-SHA-256")
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": ",".join(mechanisms),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.ca),
        f"listener.name.{MTLS.lower()}.ssl.client.auth": "required",
        f"listener.name.{MTLS.lower()}.ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
        **{f"listener.name.{SASL.lower()}.{name.lower()}.sasl.jaas.config": _JAAS for name in mechanisms},
    }
    broker = LocalKafka(folder / "kafka", port=0, properties=properties, listeners={SASL: "SASL_SSL", MTLS: "SSL"})
    return SecureKafka(broker, certificates)
