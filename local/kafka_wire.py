"""The one request that the local stack sends to Kafka's controller, which client libraries cannot reach."""

from __future__ import annotations

import socket
import struct

from barograph_server.local.child_process import LOOPBACK, LocalStackError

_UNREGISTER_BROKER = 64
_VERSION = 0

_NONE = 0
_BROKER_ID_NOT_REGISTERED = 102
# Not the controller yet, or busy becoming it.
_RETRIABLE = frozenset({6, 7, 14, 15, 41, 89})


def unregister_broker(controller_port: int, broker_id: int) -> bool:
    """Take a broker out of the cluster's metadata; its data stay, and it may register again.

    Returns:
        False when the controller cannot do it yet: ask again.

    Source:
        Kafka's protocol guide: request header v2, response header v1, UnregisterBroker v0.
    """
    # api key, version, correlation id, no client id, no tagged fields; broker id, no tagged fields
    request = struct.pack(">hhihBiB", _UNREGISTER_BROKER, _VERSION, 1, -1, 0, broker_id, 0)
    try:
        with socket.create_connection((LOOPBACK, controller_port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as reply_file:
                (length,) = struct.unpack(">i", reply_file.read(4))
                reply = reply_file.read(length)
        # correlation id, no tagged fields; throttle time, error code, then a message
        _, _, _, error_code = struct.unpack_from(">iBih", reply)
    except (OSError, struct.error):
        # Refused, timed out, or cut short: it is not up.
        return False
    if error_code in (_NONE, _BROKER_ID_NOT_REGISTERED):
        return True
    if error_code in _RETRIABLE:
        return False
    raise LocalStackError(f"Kafka's controller refuses to unregister broker {broker_id}: error code {error_code}.")
