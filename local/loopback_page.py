"""What web pages on loopback share: the thread that serves them, and which requests they answer.

Other programs of the machine can reach loopback, and so can a browser on behalf of any page or link. A server of a page
answers only under a loopback name, and gives data only to requests of the page itself.
"""

import json
from abc import ABC, abstractmethod
from typing import Any, Self

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response

from barograph_server.local.child_process import LOOPBACK, LocalStackError
from barograph_server.streams.runtime.http_server import HttpServer

BODY_BYTES = 64 * 1024
"""Maximum size of a request."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
TRUSTED_HOSTS = Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])
"""Prevents DNS rebinding: a foreign page cannot reach the server under its own host name."""


class LoopbackServer(ABC):
    """Serves an application on loopback from its own thread; also a context manager."""

    def __init__(self, name: str, port: int) -> None:
        """Describe it; nothing is started.

        Args:
            name: what it serves, for messages: `preview page`.
            port: port to listen on; 0 means any free port.
        """
        self._name = name
        self._requested_port = port
        self.port = port
        self._server: HttpServer | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/"

    @abstractmethod
    def app(self) -> Starlette:
        """The ASGI application, for use with another server."""

    def start(self) -> None:
        try:
            self._server = HttpServer(self.app(), LOOPBACK, self._requested_port, self._name, log_level="warning")
        except OSError as error:
            raise LocalStackError(
                f"The {self._name} cannot listen on port {self._requested_port}: {error.strerror}. Name another one."
            ) from error
        self.port = self._server.port
        self._server.start()

    def stop(self) -> None:
        """Finish running requests, then stop."""
        if self._server is not None:
            self._server.stop(10)
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class InvalidRequest(Exception):
    """A request is not one of the page's own; the text says why."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


async def read_json_object(request: Request) -> dict[str, Any]:
    """Read the body of a request of the page: a JSON object; another JSON value counts as an empty one.

    Raises:
        InvalidRequest: it comes from another site, is too large, or is not JSON.
    """
    check_same_origin(request)
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise InvalidRequest("Send the request as application/json.", 415)
    values = await read_json(request)
    return values if isinstance(values, dict) else {}


async def read_json(request: Request) -> Any:
    """Read the body of a request as JSON.

    Raises:
        InvalidRequest: it is too large, is not JSON, or has half a surrogate pair, which no table and topic takes.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES:
            raise InvalidRequest(f"The request is larger than {BODY_BYTES // 1024} KiB.", 413)
    try:
        values = json.loads(body)
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            "The request has half a surrogate pair, which is no text. Remove the character."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The request is not valid JSON.") from error
    return values


def check_same_origin(request: Request) -> None:
    """Reject a request that a page of another site sends.

    Raises:
        InvalidRequest: it does.
    """
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if origin not in (None, f"http://{request.headers.get('Host')}") or site not in ("same-origin", "none"):
        raise InvalidRequest("These data are only for the pages of this server.", 403)


def json_response(value: Any, status: int = 200) -> Response:
    """Return a value as JSON; times become Unix milliseconds, and other objects text."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_as_json)
    return Response(body, status, {**HEADERS, "Content-Type": "application/json"})


def _as_json(value: Any) -> Any:
    if hasattr(value, "timestamp"):
        return round(value.timestamp() * 1000)
    return str(value)
