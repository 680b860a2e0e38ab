"""An HTTP proxy in front of ClickHouse that can refuse, delay or break requests, or drop replies."""

import http.client
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Mode = Literal["open", "down", "slow", "error", "cut", "lost"]
SLOW_S = 1.5


class WarehouseProxy:
    def __init__(self, host: str, port: int) -> None:
        self.upstream = host, port
        self.mode: Mode = "open"
        self.requests: Counter[str] = Counter()
        """Number of requests by mode, or by reason of failure."""
        self._server = _Server((host, 0), type("Handler", (_Handler,), {"proxy": self}))
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="proxy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect: the faults make them do so."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Each reply is one write: the second of two would wait 40 ms for the acknowledgement of the first.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    proxy: WarehouseProxy
    _engine: http.client.HTTPConnection | None = None

    def do_GET(self) -> None:
        self._pass()

    def do_POST(self) -> None:
        self._pass()

    def log_message(self, *_: Any) -> None:
        """Log no requests."""

    def finish(self) -> None:
        if self._engine is not None:
            self._engine.close()
        super().finish()

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        mode = self.proxy.mode
        writes = b"INSERT" in body[:2000].upper() or "INSERT" in self.path.upper()
        if mode == "down":
            self._hang_up(mode)
        elif mode == "error":
            self.proxy.requests[mode] += 1
            self._answer(500, [], b"the proxy is broken")
        elif mode == "cut" and writes:
            self._send_half(body)
            self._hang_up(mode)
        else:
            if mode == "slow":
                time.sleep(SLOW_S)
            answer = self._forward(body)
            if answer is None or (mode == "lost" and writes):
                self._hang_up(mode if answer is not None else "engine unavailable")
            else:
                self.proxy.requests[mode] += 1
                self._answer(*answer)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes] | None:
        try:
            self._engine = self._engine or http.client.HTTPConnection(*self.proxy.upstream, timeout=120)
            self._engine.request(self.command, self.path, body, dict(self.headers.items()))
            reply = self._engine.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        except (OSError, http.client.HTTPException):
            return None

    def _send_half(self, body: bytes) -> None:
        with socket.create_connection(self.proxy.upstream, timeout=30) as raw:
            head = [
                f"{self.command} {self.path} HTTP/1.1",
                *(f"{name}: {value}" for name, value in self.headers.items()),
            ]
            raw.sendall("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body[: len(body) // 2])

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self, why: str) -> None:
        self.proxy.requests[why] += 1
        self.close_connection = True
        # The shutdown ends the connection at once, so that the client does not wait for a reply.
        self.connection.shutdown(socket.SHUT_RDWR)
