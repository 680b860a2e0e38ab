"""The probe of the local language model: only a complete answer of 200 means that it is ready."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from local.child_process import LOOPBACK
from local.language_model import is_healthy

Serve = Callable[[bytes], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that answer one connection with these bytes, and return their ports."""
    listeners: list[socket.socket] = []

    def start(answer: bytes) -> int:
        listener = socket.create_server((LOOPBACK, 0))
        listeners.append(listener)

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        threading.Thread(target=run, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.close()


def test_only_an_answer_of_200_is_healthy_without_the_proxy_of_the_environment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert is_healthy(serve(good))
    for answer in (good.replace(b"200 OK", b"503 Service Unavailable"), b"220 mail.example ESMTP\r\n", b""):
        assert not is_healthy(serve(answer)), answer
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = int(listener.getsockname()[1])
    assert not is_healthy(port), "nobody listens"
    monkeypatch.setenv("http_proxy", f"http://{LOOPBACK}:{serve(b'')}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert is_healthy(serve(good))
