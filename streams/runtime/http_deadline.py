"""What HTTP exchanges of processors share: the TLS context of the process, and a time limit for a whole exchange."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import Self


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Return the context that verifies certificates; loading the authorities takes some 20 ms, once per process."""
    return ssl.create_default_context()


class ExchangeDeadline:
    """Ends an exchange that takes longer than its limit; a context manager.

    A socket's timeout limits each read, and a server may send a byte at a time. When the limit has passed, the
    deadline shuts the socket down, so that a blocked read ends.
    """

    def __init__(self, timeout_s: float) -> None:
        """Set the limit, which counts from `__enter__`.

        Args:
            timeout_s: seconds for the whole exchange.
        """
        self._timer = threading.Timer(timeout_s, self._expire)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_over = False
        self.is_expired = False
        """Whether the limit passed during the exchange."""

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._is_over = True
            self._socket = None

    def watch(self, connection: http.client.HTTPConnection) -> None:
        """Guard the socket of a connection, once it is connected and before its answer is read.

        Raises:
            TimeoutError: the limit has passed.
        """
        with self._lock:
            self._socket = connection.sock
        self.check()

    def check(self) -> None:
        """Check that the limit has not passed; a socket that was shut down reads like the end of the answer.

        Raises:
            TimeoutError: the limit has passed.
        """
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
