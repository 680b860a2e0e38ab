"""One HTTP request over a connection of its own."""

from collections.abc import Mapping
from typing import Any

import urllib3


def request(
    method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout_s: float = 30
) -> urllib3.BaseHTTPResponse:
    """Return the answer, whatever its status, with its whole body as sent; redirects are not followed."""
    as_sent: Any = {"retries": False, "redirect": False, "decode_content": False}
    with urllib3.PoolManager() as pool:
        return pool.request(method, url, body=body, headers=dict(headers or {}), timeout=timeout_s, **as_sent)
