import socket
import struct
import threading
from collections.abc import Iterator

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


@pytest.fixture
def controller() -> Iterator[Controller]:
    controller = Controller()
    yield controller
    controller.close()


def reply(error_code: int) -> bytes:
    body = struct.pack(">iBihBB", 1, 0, 0, error_code, 0, 0)
    return struct.pack(">i", len(body)) + body


def test_the_request_is_the_protocols(controller: Controller) -> None:
    controller.reply = reply(0)
    assert unregister_broker(controller.port, 7)
    length, key, version, correlation, client, header_tags, broker, tags = struct.unpack(
        ">ihhihBiB", controller.request
    )
    assert length == len(controller.request) - 4
    assert (key, version, correlation, client, header_tags, broker, tags) == (64, 0, 1, -1, 0, 7, 0)


def test_a_broker_that_is_not_registered_is_as_good(controller: Controller) -> None:
    controller.reply = reply(102)
    assert unregister_broker(controller.port, 1)


@pytest.mark.parametrize("bytes_sent", [reply(41), reply(15), b"", b"\0\0", reply(0)[:9]])
def test_a_request_to_a_controller_that_is_not_ready_is_retried(controller: Controller, bytes_sent: bytes) -> None:
    controller.reply = bytes_sent
    assert not unregister_broker(controller.port, 1)


def test_a_refusal_is_an_error(controller: Controller) -> None:
    controller.reply = reply(31)
    with pytest.raises(LocalStackError, match="refuses to unregister broker 1: error code 31"):
        unregister_broker(controller.port, 1)
