"""POST requests to one HTTP endpoint over kept connections, with limits of time and size.

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

from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode, JudgeSettingsError
from barograph_server.streams.runtime.http_deadline import ExchangeDeadline, tls_context

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
    """Sends requests to one address. Several threads may share it; a connection serves one request at a time."""

    def __init__(self, address: HttpAddress, headers: Mapping[str, str], max_answer_bytes: int) -> None:
        self._address, self._headers, self._max_bytes = address, dict(headers), max_answer_bytes
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []

    def post(self, body: bytes, timeout_s: float) -> bytes:
        """Return the body of the answer with status 200.

        Args:
            timeout_s: seconds for everything after the name is resolved.

        Raises:
            JudgeError: there is no such answer.
        """
        with ExchangeDeadline(timeout_s) as deadline:
            connection, is_reused = self._take_connection()
            try:
                try:
                    response = self._request(connection, body, timeout_s, deadline)
                except ConnectionError:
                    deadline.check()
                    if not is_reused:
                        raise
                    # The server closed the idle connection.
                    connection.close()
                    response = self._request(connection, body, timeout_s, deadline)
                content = self._read(response)
                deadline.check()
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                raise _translated(error, timeout_s, deadline.is_expired) from None
            except BaseException:
                connection.close()
                raise
        if connection.sock is not None:
            with self._lock:
                self._idle.append(connection)
        return content

    def close(self) -> None:
        """Close the idle connections; later requests open new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take_connection(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), True
        at = self._address
        if at.secure:
            return http.client.HTTPSConnection(at.host, at.port, context=tls_context()), False
        return http.client.HTTPConnection(at.host, at.port), False

    def _request(
        self, connection: http.client.HTTPConnection, body: bytes, timeout_s: float, deadline: ExchangeDeadline
    ) -> http.client.HTTPResponse:
        connection.timeout = timeout_s
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(timeout_s)
        deadline.watch(connection)
        connection.request("POST", self._address.path, body, self._headers)
        return connection.getresponse()

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        with response:
            self._check_head(response)
            content = response.read(self._max_bytes + 1)
        if len(content) > self._max_bytes:
            raise self._too_large()
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        return content

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
