import socket
import struct
import threading

import pytest

from local.child_process import LocalStackError
from local.kafka_wire import unregister_broker


class Controller:
    """Answers one request with the bytes given, and keeps the request."""

    def __init__(self) -> None:
        self.reply = b""
        self.request = b""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            self.request = connection.recv(1024)
            connection.sendall(self.reply)

    def close(self) -> None:
        self._thread.join()
        self._server.close()


def reply(error_code: int) -> bytes:
    body = struct.pack(">iBihBB", 1, 0, 0, error_code, 0, 0)
    return struct.pack(">i", len(body)) + body


def unregister(bytes_sent: bytes) -> tuple[bool, bytes]:
    """Unregister broker 7 at a controller that answers so; return the result, and the request."""
    controller = Controller()
    controller.reply = bytes_sent
    try:
        return unregister_broker(controller.port, 7), controller.request
    finally:
        controller.close()


def test_a_broker_is_unregistered_or_is_not_registered() -> None:
    is_done, request = unregister(reply(0))
    assert is_done
    length, key, version, correlation, client, header_tags, broker, tags = struct.unpack(">ihhihBiB", request)
    assert length == len(request) - 4
    assert (key, version, correlation, client, header_tags, broker, tags) == (64, 0, 1, -1, 0, 7, 0)
    assert unregister(reply(102))[0]


def test_a_request_to_a_controller_that_is_not_ready_is_retried_and_a_refusal_is_an_error() -> None:
    for bytes_sent in (reply(41), reply(15), b"", b"\0\0", reply(0)[:9]):
        assert not unregister(bytes_sent)[0], bytes_sent
    with pytest.raises(LocalStackError, match="refuses to unregister broker 7: error code 31"):
        unregister(reply(31))
