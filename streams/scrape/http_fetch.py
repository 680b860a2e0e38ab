"""One GET of a metrics endpoint, with a time limit for the whole answer and a limit of its size.

No redirect is followed, no proxy is used, and no compression is accepted: an endpoint can neither send the token
elsewhere nor answer with more than the limit.
"""

from __future__ import annotations

import http.client
import ssl

from barograph_server.streams.runtime.http_deadline import ExchangeDeadline, tls_context
from barograph_server.streams.scrape.failure import ScrapeError, ScrapeOutcome
from barograph_server.streams.scrape.settings import ScrapeTarget

MAX_BODY_BYTES = 4 << 20
"""Largest answer. vLLM's has some 100 kB for one model."""
_ACCEPT = "text/plain;version=0.0.4"


def fetch(target: ScrapeTarget, timeout_s: float, token: str = "", *, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the body of a successful answer.

    Args:
        timeout_s: seconds for everything after the name is resolved.
        token: sent as a bearer token; empty for none.
        max_bytes: a longer body is rejected.

    Raises:
        ScrapeError: there is no such answer.
    """
    connection: http.client.HTTPConnection
    if target.secure:
        connection = http.client.HTTPSConnection(target.host, target.port, timeout=timeout_s, context=tls_context())
    else:
        connection = http.client.HTTPConnection(target.host, target.port, timeout=timeout_s)
    with ExchangeDeadline(timeout_s) as deadline:
        try:
            connection.connect()
            deadline.watch(connection)
            headers = {"Accept": _ACCEPT, "Accept-Encoding": "identity", "User-Agent": "barograph"}
            if token:
                headers["Authorization"] = f"Bearer {token}"
            connection.request("GET", target.path, headers=headers)
            with connection.getresponse() as response:
                _check_head(response, max_bytes)
                body = response.read(max_bytes + 1)
            deadline.check()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _translated(error, timeout_s, deadline.is_expired) from error
        finally:
            connection.close()
    if len(body) > max_bytes:
        raise ScrapeError(ScrapeOutcome.TOO_LARGE, f"The answer is longer than {max_bytes:,} bytes.")
    return body


def _check_head(response: http.client.HTTPResponse, max_bytes: int) -> None:
    if 300 <= response.status < 400:
        raise ScrapeError(
            ScrapeOutcome.REDIRECTED, "The endpoint redirects, which is not followed. Write the final address."
        )
    if response.status != 200:
        advice = {401: "Set BAROGRAPH_SCRAPE_TOKEN.", 403: "Set BAROGRAPH_SCRAPE_TOKEN.", 404: "Check the path."}
        hint = advice.get(response.status, "Check the server.")
        raise ScrapeError(ScrapeOutcome.BAD_STATUS, f"The endpoint answers with status {response.status}. {hint}")
    if (response.length or 0) > max_bytes:
        raise ScrapeError(ScrapeOutcome.TOO_LARGE, f"The answer is longer than {max_bytes:,} bytes.")
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
        raise ScrapeError(ScrapeOutcome.UNREADABLE, "The answer is compressed although that was not accepted.")


def _translated(error: Exception, timeout_s: float, expired: bool) -> ScrapeError:
    if expired or isinstance(error, TimeoutError):
        return ScrapeError(ScrapeOutcome.TIMEOUT, f"The endpoint did not answer within {timeout_s:g} s.")
    if isinstance(error, ssl.SSLError):
        return ScrapeError(
            ScrapeOutcome.UNREACHABLE,
            f"TLS failed ({error.reason or type(error).__name__}). Check the certificate, or set SSL_CERT_FILE to its "
            "CA.",
        )
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        return ScrapeError(ScrapeOutcome.UNREACHABLE, f"The endpoint cannot be reached: {reason}.")
    return ScrapeError(ScrapeOutcome.UNREADABLE, f"The answer is not HTTP: {type(error).__name__}.")
