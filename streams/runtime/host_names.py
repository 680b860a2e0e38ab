"""Host names under which an endpoint answers: a page that rebinds its name to this machine sends that name as Host."""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit


def known_names(host: str, further: str) -> frozenset[str]:
    """Return `localhost`, the name that an endpoint listens on, and further ones, separated by commas."""
    return frozenset({"localhost", _plain(host), *map(_plain, further.split(","))} - {""})


def is_known(host: str, names: Collection[str]) -> bool:
    """Return whether a Host header contains an IP address or a known name."""
    try:
        name = _plain(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names
    return True


def _plain(name: str) -> str:
    return name.strip().rstrip(".").lower()
