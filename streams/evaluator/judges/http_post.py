"""POST requests to one HTTP endpoint over kept connections, with limits of time and size."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode, JudgeSettingsError
from barograph_server.streams.runtime.http_exchange import HttpClient, HttpError, HttpFailure

_CODES = {
    HttpFailure.TIMEOUT: JudgeErrorCode.TIMEOUT,
    HttpFailure.TLS: JudgeErrorCode.UNREACHABLE,
    HttpFailure.UNREACHABLE: JudgeErrorCode.UNREACHABLE,
    HttpFailure.CLOSED: JudgeErrorCode.UNREACHABLE,
}
_HINTS = {
    400: "Check the length of the texts, and that the server supports `json_schema`",
    401: "Check the key",
    403: "Check the key",
    404: "Check the path and the name of the model",
}


def endpoint_url(url: str, path: str) -> str:
    """Check the base URL of an API, and add the path of a method.

    Raises:
        JudgeSettingsError: it is not a URL of HTTP, or holds a password or a query.
    """
    advice = "Write http://HOST:PORT/v1, and name the variable of a key in `key_variable`."
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise JudgeSettingsError(f"The URL of the endpoint is not valid. {advice}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise JudgeSettingsError(f"The URL of the endpoint has no address of http or https. {advice}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise JudgeSettingsError(f"The URL of the endpoint holds a user, a query or a fragment. {advice}")
    if not all("!" <= character <= "~" for character in parts.path + parts.hostname):
        raise JudgeSettingsError(f"The URL of the endpoint has characters that no address has. {advice}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}{path}"


def post(client: HttpClient, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> bytes:
    """Return the body of the answer with status 200.

    Args:
        timeout_s: seconds for everything after the name is resolved.

    Raises:
        JudgeError: there is no such answer.
    """
    try:
        answer = client.exchange("POST", url, timeout_s, headers, body)
    except HttpError as error:
        raise JudgeError(_CODES.get(error.kind, JudgeErrorCode.ERROR), str(error)) from None
    status, what = answer.status, f"The endpoint answers with status {answer.title}"
    if status == 200:
        return answer.body
    if status in (429, 503):
        wait_s = answer.retry_after_s
        raise JudgeError(JudgeErrorCode.OVERLOADED, f"{what}.", status=status, retry_after_s=wait_s)
    if status >= 500 or status == 408:
        raise JudgeError(JudgeErrorCode.ERROR, f"{what}.", status=status)
    hint = "Write the final URL" if 300 <= status < 400 else _HINTS.get(status, "Check the settings")
    raise JudgeError(JudgeErrorCode.REFUSED, f"{what}. {hint}.", status=status)
