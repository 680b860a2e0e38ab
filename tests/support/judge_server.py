"""A real HTTP server with the chat API, whose answers a test chooses."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from streams.evaluator.judges.endpoint import ChatEndpoint, ChatEndpointSettings

Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any], int], None]
"""Answers a request with this content; the number counts requests from 0."""


class JudgeServer:
    """The server, and what it received."""

    def __init__(self, answer: Answer) -> None:
        owner = self
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.peers: set[tuple[str, int]] = set()
        self._endpoints: list[ChatEndpoint] = []
        self.stopping = threading.Event()
        """Set at the end of the test; answers that never end wait for it."""
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(owner.bodies)
                    owner.bodies.append(body)
                    owner.headers.append(dict(self.headers))
                    owner.peers.add(self.client_address)
                try:
                    answer(self, body, number)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Print errors, except that clients which a test kills reset their connections."""
                if not isinstance(sys.exc_info()[1], ConnectionError):
                    super().handle_error(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def endpoint(self, key: str = "", **settings: Any) -> ChatEndpoint:
        """Return an endpoint with this server."""
        variable = "JUDGE_KEY" if key else ""
        endpoint = ChatEndpoint(ChatEndpointSettings(self.url, "judge-1", variable, **settings), {variable: key})
        self._endpoints.append(endpoint)
        return endpoint

    def stop(self) -> None:
        self.stopping.set()
        for endpoint in self._endpoints:
            endpoint.close()
        self._server.shutdown()
        self._server.server_close()


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    """Answer with a body."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def chat(content: str | None, logprobs: list[float] | None = None, **choice: Any) -> bytes:
    """Build an answer with the chat API."""
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"} | choice
    if logprobs is not None:
        choice["logprobs"] = {"content": [{"token": "x", "logprob": value} for value in logprobs]}
    usage = {"prompt_tokens": 11, "completion_tokens": 7}
    return json.dumps({"model": "judge-1", "choices": [choice], "usage": usage}).encode()


def always(content: str) -> Answer:
    """Answer each request with this text."""
    return lambda handler, body, number: send(handler, chat(content))


def in_turn(*contents: str) -> Answer:
    """Answer the requests with these texts, one after the other, again and again."""
    return lambda handler, body, number: send(handler, chat(contents[number % len(contents)]))
