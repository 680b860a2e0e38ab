"""An HTTP server of an ASGI application, on a thread of its own."""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette

BACKLOG = 128


class HttpServer:
    """Binds its port at once, so that clients wait until it has started instead of getting a refused connection."""

    def __init__(self, app: Starlette, host: str, port: int, name: str, **options: Any) -> None:
        """Bind the port; requests are answered after `start`.

        Args:
            port: 0 for any free one.
            options: of `uvicorn.Config`.

        Raises:
            OSError: the port cannot be bound.
        """
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(app, access_log=False, ws="none", server_header=False, **options)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> None:
        """Finish running requests, then stop."""
        self._server.should_exit = True
        if self.is_alive:
            self._thread.join(timeout_s)
        self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve([self._socket]))


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
