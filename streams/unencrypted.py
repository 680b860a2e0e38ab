"""Connections to another machine that carry credentials without encryption. Commands and processors warn about them."""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from barograph_server.warehouse.client import Address


@dataclass(frozen=True, slots=True)
class UnencryptedConnection:
    """One such connection."""

    server: str
    """`Kafka` or `ClickHouse`."""
    message: str
    """A sentence."""
    action: str
    """What to do, as a sentence."""


def unencrypted_connections(
    bootstrap_servers: str, kafka: Mapping[str, str], warehouse: Address
) -> Iterator[UnencryptedConnection]:
    """Find the connections that leave this machine with credentials and without encryption.

    Args:
        bootstrap_servers: Kafka, as `HOST:PORT,…`; empty if it is not used.
    """
    protocol = kafka.get("security.protocol", "").lower()
    if protocol == "sasl_plaintext" and not all(map(is_loopback, _hosts(bootstrap_servers))):
        yield UnencryptedConnection(
            "Kafka",
            f"The connection to Kafka at {bootstrap_servers} authenticates without encryption: others on the network "
            "can read its events, and a password of PLAIN or guess one of SCRAM.",
            'Set kafka.security.protocol = "SASL_SSL" and kafka.ssl.ca.location.',
        )
    if warehouse.password and not warehouse.secure and not is_loopback(warehouse.host):
        yield UnencryptedConnection(
            "ClickHouse",
            f"The connection to ClickHouse at {warehouse} sends the password without encryption: others on the network "
            "can read it and all data.",
            "Set clickhouse.secure = true, and clickhouse.port to the port for HTTPS, usually 8443.",
        )


def is_loopback(host: str) -> bool:
    """Return whether a host name or an IP address always means this machine. Names are not resolved."""
    name = host.strip("[]").rstrip(".").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _hosts(bootstrap_servers: str) -> Iterator[str]:
    for server in filter(None, map(str.strip, bootstrap_servers.split(","))):
        yield urlsplit(f"//{server.rpartition('://')[2]}").hostname or server
