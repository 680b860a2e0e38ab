"""A real HTTP server on loopback whose answers a test scripts; it records what it receives."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.support.http import request

HOST = "127.0.0.1"


@dataclass(frozen=True)
class ReceivedRequest:
    method: str
    path: str
    """With the query."""
    headers: Message
    body: bytes
    peer: tuple[str, int]

    def json(self) -> Any:
        return json.loads(self.body)


class Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ScriptedServer
    request_number: int
    """Counts the requests of the server from 0."""
    body: bytes

    def send(self, body: bytes = b"", status: int = 200, *, reason: str | None = None, **headers: str) -> None:
        self.send_response(status, reason)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drip(self, piece: bytes, pause_s: float = 0.02) -> None:
        """Send an answer without an end, piece by piece, until the client leaves or the server stops."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        while not self.server.stopping.wait(pause_s):
            self.wfile.write(piece)

    def forward(self, host: str, port: int, *, answers: bool = True, **headers: str) -> None:
        """Pass the request on to another server, with these headers instead of its own, and send its answer."""
        passed = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        answer = request(self.command, f"http://{host}:{port}{self.path}", self.body, passed | headers, timeout_s=120)
        passed_on = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_ONE_CONNECTION}
        if answers:
            self.send(answer.data, answer.status, **passed_on)

    def _respond(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.request_number = self.server.record(self)
        try:
            self.server.answer(self)
        except ConnectionError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = _respond

    def log_message(self, format: str, *args: object) -> None:
        pass


_OF_ONE_CONNECTION = ("server", "date", "connection", "content-length", "transfer-encoding")
"""Headers of an answer that `forward` replaces."""

Answer = Callable[[Exchange], None]


def reply(body: bytes = b"", status: int = 200, **headers: str) -> Answer:
    return lambda exchange: exchange.send(body, status, **headers)


def in_sequence(*answers: Answer) -> Answer:
    return lambda exchange: answers[min(exchange.request_number, len(answers) - 1)](exchange)


def hang(exchange: Exchange) -> None:
    exchange.server.stopping.wait(60)
    exchange.close_connection = True


def cut(exchange: Exchange) -> None:
    exchange.close_connection = True
    exchange.connection.shutdown(socket.SHUT_RDWR)


class ScriptedServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Answer, *, certificate: tuple[Path, Path] | None = None) -> None:
        super().__init__((HOST, 0), Exchange)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.answer = answer
        self.requests: list[ReceivedRequest] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self.server_port

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def record(self, exchange: Exchange) -> int:
        received = ReceivedRequest(
            exchange.command, exchange.path, exchange.headers, exchange.body, exchange.client_address
        )
        with self._lock:
            self.requests.append(received)
            return len(self.requests) - 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print errors of the script, and none of a client that resets a connection or rejects the certificate."""
        if not isinstance(sys.exc_info()[1], ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
