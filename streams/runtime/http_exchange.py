"""HTTP requests with a time limit for the whole exchange and a limit of the answer's size.

No redirect is followed and no compression is accepted: a server can neither send a secret elsewhere nor answer with
more than the limit. No error quotes the URL, the headers or the server's text, which may hold secrets.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from functools import lru_cache
from http.client import IncompleteRead, responses
from typing import Any, ClassVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationValueError, ProtocolError

MAX_RETRY_AFTER_S = 3600.0
_KEPT_CONNECTIONS = 64
# Its warnings quote the URL, whose path may be a secret.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class HttpFailure(Enum):
    """Why an exchange has no answer that can be used."""

    TIMEOUT = auto()
    TLS = auto()
    UNREACHABLE = auto()
    CLOSED = auto()
    NOT_HTTP = auto()
    TOO_LARGE = auto()
    COMPRESSED = auto()
    NOT_SENT = auto()
    """The URL or a header has characters that HTTP does not allow."""


class HttpError(Exception):
    """An exchange without an answer that can be used; its text is a sentence about the endpoint."""

    def __init__(self, kind: HttpFailure, text: str, reason: str) -> None:
        """Describe the failure by the system's text, or the name of the error."""
        super().__init__(text)
        self.kind, self.reason = kind, reason


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer; its body is read if the status is 200 and the client has a limit for it."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def title(self) -> str:
        """The status and its standard phrase; the server chooses the phrase that it sends."""
        return f"{self.status} {responses.get(self.status, '')}".rstrip()

    @property
    def retry_after_s(self) -> float:
        """The header Retry-After, seconds or a date; 0 if it is neither."""
        text = self.headers.get("Retry-After", "")
        if re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII):
            return min(float(text), MAX_RETRY_AFTER_S)
        try:
            return min(max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0), MAX_RETRY_AFTER_S)
        except (ValueError, OverflowError):
            return 0.0


class HttpClient:
    """Sends requests over kept connections. Several threads may share it."""

    def __init__(self, max_bytes: int = 0, *, uses_proxies: bool = False) -> None:
        """Open nothing yet.

        Args:
            max_bytes: Longest body; 0: bodies are not read.
            uses_proxies: Whether the variables `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are followed.
        """
        self._max_bytes, self._uses_proxies = max_bytes, uses_proxies
        self._pools = _watched(urllib3.PoolManager(maxsize=_KEPT_CONNECTIONS, ssl_context=tls_context()))
        self._proxied: dict[str, urllib3.PoolManager] = {}

    def exchange(
        self, method: str, url: str, timeout_s: float, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> HttpAnswer:
        """Send one request, and a second time if a kept connection turns out to be closed.

        Args:
            timeout_s: seconds for everything after the name is resolved.

        Raises:
            HttpError: there is no answer, or none within the limits.
        """
        sent = {"Accept-Encoding": "identity", "User-Agent": "barograph", **(headers or {})}
        with _Deadline(timeout_s) as deadline:
            try:
                if not re.fullmatch(r"https?://[!-~]+", url):
                    raise LocationValueError
                with self._request(
                    deadline, method, url, body=body or None, headers=sent, timeout=timeout_s
                ) as response:
                    content = self._body(response) if response.status == 200 and self._max_bytes else b""
                deadline.check()
            except (OSError, HTTPError, ValueError) as error:
                raise _translated(error, timeout_s, deadline.is_expired) from None
        return HttpAnswer(response.status, response.headers, content)

    def close(self) -> None:
        """Close the kept connections; later requests open new ones."""
        for pools in (self._pools, *self._proxied.values()):
            pools.clear()

    def _request(self, deadline: _Deadline, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        pools = self._pools_to(url)
        while True:
            try:
                return pools.urlopen(method, url, redirect=False, retries=False, preload_content=False, **options)
            except ProtocolError as error:
                is_stale = not deadline.has_connected and isinstance(_cause(error), ConnectionError)
                if deadline.is_expired or not is_stale:
                    raise

    def _pools_to(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = getproxies().get(parts.scheme) if self._uses_proxies and not proxy_bypass(parts.netloc) else None
        if proxy is None:
            return self._pools
        if proxy not in self._proxied:
            address = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
            headers = urllib3.make_headers(proxy_basic_auth=address.auth) if address.auth else None
            manager = urllib3.ProxyManager(address.url, proxy_headers=headers, ssl_context=tls_context())
            self._proxied[proxy] = _watched(manager)
        return self._proxied[proxy]

    def _body(self, response: urllib3.BaseHTTPResponse) -> bytes:
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
            text = "The answer is compressed although that was not accepted."
            raise HttpError(HttpFailure.COMPRESSED, text, "compressed")
        announced = response.length_remaining or 0
        content = b"" if announced > self._max_bytes else response.read(self._max_bytes + 1, decode_content=False)
        if max(announced, len(content)) > self._max_bytes:
            text = f"The answer is longer than {self._max_bytes:,} bytes."
            raise HttpError(HttpFailure.TOO_LARGE, text, "too large")
        if response.length_remaining:
            raise ProtocolError(IncompleteRead(b""))
        return content


def exchange_once(method: str, url: str, timeout_s: float, headers: Mapping[str, str] | None = None) -> HttpAnswer:
    """Send one request without a body over a connection of its own, and do not read the answer's body.

    Raises:
        HttpError: there is no answer.
    """
    client = HttpClient()
    try:
        return client.exchange(method, url, timeout_s, headers)
    finally:
        client.close()


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Return the context that verifies certificates; loading the authorities takes some 20 ms, once per process."""
    return ssl.create_default_context()


class _Deadline:
    """Ends an exchange that takes longer than its limit; a context manager.

    A socket's timeout limits each read, and a server may send a byte at a time. When the limit has passed, the
    deadline shuts the socket down, so that a blocked read ends.
    """

    of_thread: ClassVar[threading.local] = threading.local()

    def __init__(self, timeout_s: float) -> None:
        self._timer = threading.Timer(timeout_s, self._expire)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_over = False
        self.is_expired = False
        self.has_connected = False

    def __enter__(self) -> _Deadline:
        self.of_thread.deadline = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._is_over, self._socket = True, None
        del self.of_thread.deadline

    def watch(self, connected: socket.socket) -> None:
        with self._lock:
            self._socket = connected
        self.check()

    def check(self) -> None:
        # A socket that was shut down reads like the end of the answer.
        if self.is_expired:
            raise TimeoutError

    def _expire(self) -> None:
        with self._lock:
            if self._is_over:
                return
            self.is_expired = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


class _WatchedConnection(HTTPConnection):
    """A connection whose socket the deadline of the thread's exchange watches."""

    def connect(self) -> None:
        _Deadline.of_thread.deadline.has_connected = True
        super().connect()

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        _Deadline.of_thread.deadline.watch(self.sock)
        super().send(data)


class _WatchedTlsConnection(_WatchedConnection, HTTPSConnection):
    pass


class _WatchedPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _WatchedTlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _WatchedTlsConnection


def _watched(pools: urllib3.PoolManager) -> urllib3.PoolManager:
    pools.pool_classes_by_scheme = {"http": _WatchedPool, "https": _WatchedTlsPool}
    return pools


def _cause(error: BaseException) -> BaseException:
    """Return the error of the system that urllib3's error wraps."""
    inner = next((argument for argument in error.args if isinstance(argument, BaseException)), error.__cause__)
    return _cause(inner) if inner is not None else error


def _translated(error: Exception, timeout_s: float, is_expired: bool) -> HttpError:
    cause = _cause(error)
    name = type(cause).__name__
    if is_expired or isinstance(cause, TimeoutError):
        return HttpError(HttpFailure.TIMEOUT, f"The endpoint did not answer within {timeout_s:g} s.", "timed out")
    if isinstance(cause, ssl.SSLError):
        reason = cause.reason or name
        advice = "Check the certificate, or set SSL_CERT_FILE to its CA."
        return HttpError(HttpFailure.TLS, f"TLS failed ({reason}). {advice}", reason)
    if isinstance(cause, (ConnectionError, IncompleteRead)) and not isinstance(cause, ConnectionRefusedError):
        text = "The endpoint closed the connection before its answer was whole."
        return HttpError(HttpFailure.CLOSED, text, getattr(cause, "strerror", None) or name)
    if isinstance(cause, OSError):
        reason = cause.strerror or name
        return HttpError(HttpFailure.UNREACHABLE, f"The endpoint cannot be reached: {reason}.", reason)
    if isinstance(cause, ValueError):
        return HttpError(HttpFailure.NOT_SENT, "The URL or a header has characters that HTTP does not allow.", name)
    return HttpError(HttpFailure.NOT_HTTP, f"The answer is not HTTP: {name}.", name)
