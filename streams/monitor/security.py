"""Translates Kafka's security settings for the monitor's consumer: aiokafka does not accept librdkafka's properties.

One set of settings (`kafka.security.protocol`, `kafka.sasl.…`, `kafka.ssl.…`) applies to every client of a process.
This module translates them for Python's TLS and Faust's credentials. It rejects any setting that has no equivalent: a
consumer that is less protected than the settings state would be worse than none.
"""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NoReturn, TypeVar

from barograph_server.streams.errors import ProcessorError

Choice = TypeVar("Choice", bound=str)
Protocol = Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]

PROTOCOLS: tuple[Protocol, ...] = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
_SASL = frozenset({"sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"})
_SSL = frozenset(
    {
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.key.location",
        "ssl.key.pem",
        "ssl.key.password",
        "ssl.cipher.suites",
        "ssl.crl.location",
        "ssl.endpoint.identification.algorithm",
    }
)
_VERIFICATION = "enable.ssl.certificate.verification"


@dataclass(frozen=True, slots=True)
class Security:
    """How the monitor's consumer connects to Kafka."""

    protocol: Protocol = "plaintext"
    mechanism: str = ""
    """SASL mechanism; empty if the protocol has none."""
    username: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    """None if the protocol has no TLS."""


def security_of(kafka: Mapping[str, str]) -> Security:
    """Translate librdkafka's security properties; other properties, such as those of sockets, are ignored."""
    protocol = _one_of("security.protocol", kafka.get("security.protocol", "plaintext").lower(), PROTOCOLS)
    if protocol in ("ssl", "sasl_ssl"):
        _check_known(kafka, "ssl.", _SSL)
    if protocol.startswith("sasl"):
        _check_known(kafka, "sasl.", _SASL)
    tls = _tls(kafka) if protocol in ("ssl", "sasl_ssl") else None
    if not protocol.startswith("sasl"):
        return Security(protocol, tls=tls)
    mechanism = kafka.get("sasl.mechanism") or kafka.get("sasl.mechanisms") or "GSSAPI"
    if mechanism not in MECHANISMS:
        _reject(f"sasl.mechanism is {mechanism}", f"Use one of {', '.join(MECHANISMS)}, or use mTLS (ssl)")
    missing = [name for name in ("sasl.username", "sasl.password") if not kafka.get(name)]
    if missing:
        _reject(f"security.protocol is {protocol}, and {' and '.join(missing)} is not set", "Set it")
    return Security(protocol, mechanism, kafka["sasl.username"], kafka["sasl.password"], tls)


def _check_known(kafka: Mapping[str, str], group: str, known: frozenset[str]) -> None:
    unknown = sorted(name for name in kafka if name.startswith(group) and name not in known)
    if unknown:
        _reject(
            f"it has no equivalent of {', '.join(unknown)}",
            f"Remove it for the monitor; of {group}… it supports {', '.join(sorted(known))}",
        )


def _tls(kafka: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_trusted_certificates(context, kafka)
    _load_own_certificate(context, kafka)
    if kafka.get("ssl.cipher.suites"):
        with _explained("ssl.cipher.suites"):
            context.set_ciphers(kafka["ssl.cipher.suites"])
    if kafka.get("ssl.crl.location"):
        with _explained("ssl.crl.location"):
            context.load_verify_locations(cafile=kafka["ssl.crl.location"])
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    return context


def _load_trusted_certificates(context: ssl.SSLContext, kafka: Mapping[str, str]) -> None:
    """Configure how the broker's certificate is verified."""
    name = "ssl.endpoint.identification.algorithm"
    context.check_hostname = _one_of(name, kafka.get(name, "https").lower(), ("https", "none")) == "https"
    if _one_of(_VERIFICATION, kafka.get(_VERIFICATION, "true").lower(), ("true", "false")) == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return
    location, pem = kafka.get("ssl.ca.location"), kafka.get("ssl.ca.pem")
    if pem:
        with _explained("ssl.ca.pem"):
            context.load_verify_locations(cadata=pem)
    elif location and location != "probe":
        with _explained("ssl.ca.location"):
            if os.path.isdir(location):
                context.load_verify_locations(capath=location)
            else:
                context.load_verify_locations(cafile=location)
    else:
        context.load_default_certs()


def _load_own_certificate(context: ssl.SSLContext, kafka: Mapping[str, str]) -> None:
    """Load the client certificate, if the settings name one."""
    certificates = [name for name in ("ssl.certificate.location", "ssl.certificate.pem") if kafka.get(name)]
    keys = [name for name in ("ssl.key.location", "ssl.key.pem") if kafka.get(name)]
    if not certificates and not keys:
        return
    if not certificates:
        _reject(f"{keys[0]} is set without a certificate", "Set ssl.certificate.location too")
    with (
        _explained(" and ".join((certificates[0], *keys[:1]))),
        _file(kafka, "ssl.certificate") as certificate,
        _file(kafka, "ssl.key") as key,
    ):
        # Without a password, an encrypted key is an error and never a prompt.
        context.load_cert_chain(certificate, key or None, password=kafka.get("ssl.key.password", ""))


@contextlib.contextmanager
def _file(kafka: Mapping[str, str], name: str) -> Iterator[str]:
    """Yield the path of a certificate or key, empty if there is none. A PEM text is written to a private file."""
    text = kafka.get(f"{name}.pem")
    if not text:
        yield kafka.get(f"{name}.location", "")
        return
    with tempfile.NamedTemporaryFile("w", prefix="barograph-", suffix=".pem") as file:
        file.write(text)
        file.flush()
        yield file.name


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        # ssl.SSLError is an OSError. Neither type names the property, and neither shows a key.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        _reject(f"{name} cannot be used ({reason})", "Correct it")


def _one_of(name: str, value: str, choices: tuple[Choice, ...]) -> Choice:
    for choice in choices:
        if choice == value:
            return choice
    _reject(f"{name} is {value!r}", f"Use one of {', '.join(choices)}")


def _reject(reason: str, advice: str) -> NoReturn:
    raise ProcessorError(f"The monitor's consumer does not support these Kafka settings: {reason}. {advice}.")
