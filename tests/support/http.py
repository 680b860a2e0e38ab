"""One HTTP request over a connection of its own."""

from collections.abc import Mapping

import urllib3


def request(
    method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout_s: float = 30
) -> urllib3.BaseHTTPResponse:
    """Return the answer, whatever its status, with its whole body; redirects are not followed."""
    with urllib3.PoolManager() as pool:
        return pool.request(
            method, url, body=body, headers=dict(headers or {}), timeout=timeout_s, retries=False, redirect=False
        )
