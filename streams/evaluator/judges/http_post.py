"""POST requests to one HTTP endpoint, with a connection per thread, and limits of time and size.

No redirect is followed, no proxy is used, and no compression is accepted: an endpoint can neither send the key
elsewhere nor answer with more than the limit. No error quotes the server's text, which may hold the key or the texts.
"""

from __future__ import annotations

import http.client
import re
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from streams.evaluator.judges.errors import JudgeError, JudgeErrorCode, JudgeSettingsError
from streams.runtime.http_deadline import ExchangeDeadline, tls_context

MAX_RETRY_AFTER_S = 3600.0
_HINTS = {
    400: "Check the length of the texts, and that the server supports `json_schema`",
    401: "Check the key",
    403: "Check the key",
    404: "Check the path and the name of the model",
}


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """Where requests go."""

    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str, path: str) -> HttpAddress:
        """Read the base URL of an API, and add the path of a method.

        Raises:
            JudgeSettingsError: it is not a URL of HTTP, or holds a password or a query.
        """
        advice = "Write http://HOST:PORT/v1, and name the variable of a key in `key_variable`."
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise JudgeSettingsError(f"The URL of the endpoint is not valid. {advice}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise JudgeSettingsError(f"The URL of the endpoint has no address of http or https. {advice}")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise JudgeSettingsError(f"The URL of the endpoint holds a user, a query or a fragment. {advice}")
        if not all("!" <= character <= "~" for character in parts.path + parts.hostname):
            raise JudgeSettingsError(f"The URL of the endpoint has characters that no address has. {advice}")
        secure = parts.scheme == "https"
        return cls(secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/") + path)


class HttpPoster:
    """Sends requests to one address. Several threads may share it; each has its own connection."""

    def __init__(self, address: HttpAddress, headers: Mapping[str, str], max_answer_bytes: int) -> None:
        self._address, self._headers, self._max_bytes = address, dict(headers), max_answer_bytes
        self._local = threading.local()

    def post(self, body: bytes, timeout_s: float) -> bytes:
        """Return the body of the answer with status 200.

        Args:
            body: the content, JSON.
            timeout_s: seconds for everything after the name is resolved.

        Raises:
            JudgeError: there is no such answer.
        """
        with ExchangeDeadline(timeout_s) as deadline:
            try:
                response = self._send(body, timeout_s, deadline)
                self._check_head(response)
                content = response.read(self._max_bytes + 1)
                deadline.check()
                if len(content) > self._max_bytes:
                    raise self._too_large()
                if response.length:
                    raise http.client.IncompleteRead(b"", response.length)
            except JudgeError:
                self._close()
                raise
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._close()
                raise _translated(error, timeout_s, deadline.is_expired) from None
            return content

    def _send(self, body: bytes, timeout_s: float, deadline: ExchangeDeadline) -> http.client.HTTPResponse:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None and connection.sock is not None:
            try:
                return self._request(connection, body, timeout_s, deadline)
            except ConnectionError:
                # The server closed the idle connection.
                deadline.check()
                connection.close()
        at = self._address
        if at.secure:
            connection = http.client.HTTPSConnection(at.host, at.port, timeout=timeout_s, context=tls_context())
        else:
            connection = http.client.HTTPConnection(at.host, at.port, timeout=timeout_s)
        self._local.connection = connection
        connection.connect()
        return self._request(connection, body, timeout_s, deadline)

    def _request(
        self, connection: http.client.HTTPConnection, body: bytes, timeout_s: float, deadline: ExchangeDeadline
    ) -> http.client.HTTPResponse:
        connection.sock.settimeout(timeout_s)
        deadline.watch(connection)
        connection.request("POST", self._address.path, body, self._headers)
        return connection.getresponse()

    def _check_head(self, response: http.client.HTTPResponse) -> None:
        status = response.status
        if status == 200:
            if (response.length or 0) > self._max_bytes:
                raise self._too_large()
            if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
                raise JudgeError(JudgeErrorCode.ERROR, "The endpoint compresses its answer without request.")
            return
        # The server chooses the reason phrase, so only the standard one is shown.
        what = f"The endpoint answers with status {status} {http.client.responses.get(status, '')}".rstrip()
        if status in (429, 503):
            wait_s = _retry_after_s(response.headers.get("Retry-After", ""))
            raise JudgeError(JudgeErrorCode.OVERLOADED, f"{what}.", status=status, retry_after_s=wait_s)
        if status >= 500 or status == 408:
            raise JudgeError(JudgeErrorCode.ERROR, f"{what}.", status=status)
        hint = "Write the final URL" if 300 <= status < 400 else _HINTS.get(status, "Check the settings")
        raise JudgeError(JudgeErrorCode.REFUSED, f"{what}. {hint}.", status=status)

    def _too_large(self) -> JudgeError:
        return JudgeError(JudgeErrorCode.ERROR, f"The answer is longer than {self._max_bytes:,} bytes.")

    def _close(self) -> None:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()


def _retry_after_s(text: str) -> float:
    """Read the header Retry-After, seconds or a date; 0 if it is neither."""
    if re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII):
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        return min(max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0), MAX_RETRY_AFTER_S)
    except (ValueError, OverflowError):
        return 0.0


def _translated(error: Exception, timeout_s: float, is_expired: bool) -> JudgeError:
    if is_expired or isinstance(error, TimeoutError):
        return JudgeError(JudgeErrorCode.TIMEOUT, f"The endpoint did not answer within {timeout_s:g} s.")
    if isinstance(error, ssl.SSLError):
        reason = error.reason or type(error).__name__
        advice = "Check the certificate, or set SSL_CERT_FILE to its CA."
        return JudgeError(JudgeErrorCode.UNREACHABLE, f"TLS failed ({reason}). {advice}")
    if isinstance(error, (ConnectionError, http.client.IncompleteRead)) and not isinstance(
        error, ConnectionRefusedError
    ):
        return JudgeError(JudgeErrorCode.UNREACHABLE, "The endpoint closed the connection before its answer was whole.")
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        return JudgeError(JudgeErrorCode.UNREACHABLE, f"The endpoint cannot be reached: {reason}.")
    return JudgeError(JudgeErrorCode.ERROR, f"The answer is not HTTP: {type(error).__name__}.")
