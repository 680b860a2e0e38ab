"""An HTTP proxy in front of ClickHouse that can refuse, delay or break requests, or drop replies."""

import socket
import time
from collections import Counter
from typing import Literal

from urllib3.exceptions import HTTPError

from tests.support.scripted_http import Exchange, ScriptedServer, cut

Mode = Literal["open", "down", "slow", "error", "cut", "lost"]
SLOW_S = 1.5


class WarehouseProxy(ScriptedServer):
    request_queue_size = 128

    def __init__(self, host: str, port: int) -> None:
        self.upstream = host, port
        self.mode: Mode = "open"
        self.hits: Counter[str] = Counter()
        """Number of requests by mode, or by reason of failure."""
        super().__init__(self._pass)

    def record(self, exchange: Exchange) -> int:
        """Keep no request: a run has too many."""
        return 0

    def _pass(self, exchange: Exchange) -> None:
        mode, what = self.mode, str(self.mode)
        writes = b"INSERT" in exchange.body[:2000].upper() or "INSERT" in exchange.path.upper()
        hangs_up = mode == "down" or (writes and mode in ("cut", "lost"))
        if mode == "error":
            exchange.send(b"the proxy is broken", 500)
        elif mode == "cut" and writes:
            self._send_half(exchange)
        elif mode != "down":
            if mode == "slow":
                time.sleep(SLOW_S)
            try:
                exchange.forward(*self.upstream, answers=not hangs_up)
            except HTTPError:
                hangs_up, what = True, "engine unavailable"
        self.hits[what] += 1
        if hangs_up:
            cut(exchange)

    def _send_half(self, exchange: Exchange) -> None:
        with socket.create_connection(self.upstream, timeout=30) as raw:
            head = [f"{exchange.command} {exchange.path} HTTP/1.1", *map(": ".join, exchange.headers.items())]
            half = exchange.body[: len(exchange.body) // 2]
            raw.sendall("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + half)
