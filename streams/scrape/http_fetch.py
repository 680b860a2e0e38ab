"""One GET of a metrics endpoint."""

from barograph_server.streams.runtime.http_exchange import HttpClient, HttpError, HttpFailure
from barograph_server.streams.scrape.server_table import ScrapeError, ScrapeOutcome
from barograph_server.streams.scrape.settings import ScrapeTarget

MAX_BODY_BYTES = 4 << 20
"""Largest answer. vLLM's has some 100 kB for one model."""
_OUTCOMES = {
    HttpFailure.TIMEOUT: ScrapeOutcome.TIMEOUT,
    HttpFailure.TLS: ScrapeOutcome.UNREACHABLE,
    HttpFailure.UNREACHABLE: ScrapeOutcome.UNREACHABLE,
    HttpFailure.CLOSED: ScrapeOutcome.UNREACHABLE,
    HttpFailure.TOO_LARGE: ScrapeOutcome.TOO_LARGE,
}
_ADVICE = {401: "Set BAROGRAPH_SCRAPE_TOKEN.", 403: "Set BAROGRAPH_SCRAPE_TOKEN.", 404: "Check the path."}


def fetch(target: ScrapeTarget, timeout_s: float, token: str = "", *, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the body of a successful answer.

    Args:
        timeout_s: seconds for everything after the name is resolved.
        token: sent as a bearer token; empty for none.
        max_bytes: a longer body is rejected.

    Raises:
        ScrapeError: there is no such answer.
    """
    headers = {"Accept": "text/plain;version=0.0.4"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    client = HttpClient(max_bytes)
    try:
        answer = client.exchange("GET", target.address, timeout_s, headers)
    except HttpError as error:
        raise ScrapeError(_OUTCOMES.get(error.kind, ScrapeOutcome.UNREADABLE), str(error)) from error
    finally:
        client.close()
    if 300 <= answer.status < 400:
        raise ScrapeError(
            ScrapeOutcome.REDIRECTED, "The endpoint redirects, which is not followed. Write the final address."
        )
    if answer.status != 200:
        hint = _ADVICE.get(answer.status, "Check the server.")
        raise ScrapeError(ScrapeOutcome.BAD_STATUS, f"The endpoint answers with status {answer.status}. {hint}")
    return answer.body
