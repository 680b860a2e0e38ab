"""A stub of Grafana on loopback that stores what it receives, records writes, and injects faults."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from barograph_server.settings import GrafanaSettings
from tests.support.grafana_state import Answer, GrafanaState, refused
from tests.support.scripted_http import Answer as HttpAnswer
from tests.support.scripted_http import Exchange, ScriptedServer, cut

TOKEN = "glsa_not-to-be-seen-0123456789"
Fault = Callable[["StubGrafana", Callable[[], Answer]], Answer | None]
"""Handles one request: may call the function for the answer; returns an answer, or None to close the connection."""


class StubGrafana(ScriptedServer):
    def __init__(self) -> None:
        self.state = GrafanaState()
        self.token = TOKEN
        self.writes: list[str] = []
        """Each write, accepted or rejected, as `METHOD path`."""
        self.faults: dict[int, Fault] = {}
        """Faults by number of the write, from 1."""
        self.always: Fault | None = None
        """Fault of every request without an entry in `faults`."""
        self.path = ""
        """Path prefix of the server, such as `/grafana`."""
        self.raw: HttpAnswer | None = None
        """Answers instead of Grafana, such as a proxy or an HTML page."""
        super().__init__(lambda exchange: (self.raw or self._send)(exchange))

    @property
    def url(self) -> str:
        return f"{super().url}{self.path}"

    def settings(self, **values: Any) -> GrafanaSettings:
        return GrafanaSettings(**{"url": self.url, "token": TOKEN, "reader_password": "swordfish", **values})

    def _send(self, exchange: Exchange) -> None:
        answer = self._respond(exchange)
        if answer is None:
            cut(exchange)
        else:
            content = b"" if answer.body is None else json.dumps(answer.body).encode()
            exchange.send(content, answer.status, Content_Type="application/json")

    def _respond(self, exchange: Exchange) -> Answer | None:
        method, parts = exchange.command, urlsplit(exchange.path)
        if not parts.path.startswith(f"{self.path}/api/"):
            return refused(404, "Not found")
        path = [unquote(part) for part in parts.path.removeprefix(f"{self.path}/api/").split("/")]
        write = method != "GET"
        if write:
            self.writes.append(f"{method} {'/'.join(path)}")

        def answer() -> Answer:
            if path != ["health"] and exchange.headers.get("Authorization") != f"Bearer {self.token}":
                return refused(401, "Invalid API key")
            if write and self.state.permissions is not None and "dashboards:write" not in self.state.permissions:
                return refused(403, "You'll need additional permissions to perform this action")
            body = json.loads(exchange.body) if exchange.body else None
            with self._lock:
                return self.state.answer(method, path, parse_qs(parts.query), body, exchange.headers)

        fault = self.faults.pop(len(self.writes), None) if write else None
        fault = fault or self.always
        return answer() if fault is None else fault(self, answer)


def failing(status: int, message: str = "no") -> Fault:
    """Reject a request without applying it."""
    return lambda stub, answer: refused(status, message)


def losing(stub: StubGrafana, answer: Callable[[], Answer]) -> None:
    """Apply a request, and close the connection without an answer."""
    answer()


def cutting(stub: StubGrafana, answer: Callable[[], Answer]) -> None:
    """Close the connection without applying the request."""
