"""The time limit of an exchange, on real sockets."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest

from barograph_server.streams.runtime.http_deadline import ExchangeDeadline, tls_context
from tests.support.pipeline import wait_for


@pytest.fixture
def connection() -> Iterator[http.client.HTTPConnection]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.getsockname()[1], timeout=60)
        connection.connect()
        yield connection
        connection.close()


def test_a_blocked_read_ends(connection: http.client.HTTPConnection) -> None:
    with ExchangeDeadline(0.1) as deadline:
        deadline.watch(connection)
        assert connection.sock.recv(1) == b"", "the socket was shut down"
        with pytest.raises(TimeoutError):
            deadline.check()


def test_a_connection_that_took_too_long_is_not_used(connection: http.client.HTTPConnection) -> None:
    with ExchangeDeadline(0.01) as deadline:
        wait_for(lambda: deadline.is_expired, "the limit")
        with pytest.raises(TimeoutError):
            deadline.watch(connection)
    assert tls_context() is tls_context()
