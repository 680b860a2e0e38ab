"""OTLP over gRPC: `Export` of the trace service, beside HTTP and with the same path behind it.

Kafka has the predictions of a request before it is acknowledged. `UNAVAILABLE` asks exporters to send a request again;
`RESOURCE_EXHAUSTED` says that it is too large, and exporters drop it. Like HTTP, it has no authentication.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, NoReturn

import grpc

from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.otlp.http_endpoint import (
    BODY_S,
    MAX_CONNECTIONS,
    POLL_S,
    QUEUE_IS_FULL,
    STORE_S,
    OtlpEndpoint,
    encode_result,
)
from barograph_server.streams.otlp.receiver import ExportResult, QueueFull, Receiver
from barograph_server.streams.otlp.rejection import ExportError, RequestReason
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.otlp.span import MAX_REQUEST_BYTES

SERVICE, METHOD = "opentelemetry.proto.collector.trace.v1.TraceService", "Export"
MAX_MESSAGES = 4
"""Messages that are in memory at once, each of `MAX_REQUEST_BYTES` at most. Others wait for their turn unread: HTTP/2
keeps 64 KiB of each."""
_GZIP = b"\x1f\x8b"
"""First bytes of gzip. No message in protobuf begins with them."""
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_concurrent_streams", MAX_CONNECTIONS),
    # gRPC would bound what is packed and not what it unpacks.
    ("grpc.per_message_decompression", 0),
    # It would let more than 64 KiB of an unread message arrive.
    ("grpc.http2.bdp_probe", 0),
    # Two processes would share a port, and neither would say so.
    ("grpc.so_reuseport", 0),
)
_Code = grpc.StatusCode


class GrpcEndpoint:
    """The gRPC server, on a thread of its own."""

    def __init__(self, http: OtlpEndpoint, receiver: Receiver, otlp: OtlpSettings, store_s: float = STORE_S) -> None:
        """Bind the port and start answering.

        Args:
            http: reads the messages, one at a time with its own bodies.
            store_s: as that of `http`.
        """
        self._http, self._receiver, self._limit_s = http, receiver, otlp.wait_s + store_s
        self._n_calls = 0
        self._turns = asyncio.Semaphore(MAX_MESSAGES)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="otlp-grpc", daemon=True)
        self._thread.start()
        host = f"[{otlp.host}]" if ":" in otlp.host else otlp.host
        try:
            self.port: int = self._run(self._start(f"{host}:{otlp.grpc_port}"))
        except RuntimeError as error:
            self._end_thread()
            raise ProcessorError(
                f"OTLP exports over gRPC cannot be received at {host}:{otlp.grpc_port}: {error}. Set otlp.grpc_port to "
                "a free port, or to 0 to receive over HTTP only."
            ) from error

    @property
    def is_alive(self) -> bool:
        """Whether the server runs."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Finish running requests, then stop."""
        self._run(self._server.stop(timeout_s))
        self._end_thread()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self, address: str) -> int:
        self._server = grpc.aio.server(options=_OPTIONS)
        # To the client it is a unary call. A handler of streams decides itself when it reads the message.
        handlers = {METHOD: grpc.stream_unary_rpc_method_handler(self._export)}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port: int = self._server.add_insecure_port(address)
        await self._server.start()
        return port

    async def _export(self, messages: AsyncIterator[bytes], call: Any) -> bytes:
        if self._receiver.is_full or self._n_calls >= MAX_CONNECTIONS:
            await _later(call, QUEUE_IS_FULL)
        self._n_calls += 1
        try:
            async with self._turns:
                result = await self._read(call)
            return await self._answer(call, result)
        except ExportError as error:
            # Not awaited: gRPC has canceled a call whose message is too large.
            self._loop.run_in_executor(None, self._receiver.count_rejected_request, error)
            is_large = error.reason is RequestReason.TOO_LARGE
            await call.abort(_Code.RESOURCE_EXHAUSTED if is_large else _Code.INVALID_ARGUMENT, str(error))
        except QueueFull:
            await _later(call, QUEUE_IS_FULL)
        except TimeoutError:
            await call.abort(_Code.DEADLINE_EXCEEDED, f"The message did not arrive within {BODY_S:.0f} s.")
        finally:
            self._n_calls -= 1
        raise AssertionError("abort raises")

    async def _read(self, call: Any) -> ExportResult:
        async with asyncio.timeout(BODY_S):
            data = await call.read()
        if data is grpc.aio.EOF:
            raise ExportError(
                RequestReason.TOO_LARGE, f"The call has no message, or one of more than {MAX_REQUEST_BYTES:,} bytes."
            )
        is_packed = data.startswith(_GZIP)
        return await self._loop.run_in_executor(self._http.reader, self._http.read, data, is_packed, "protobuf")

    async def _answer(self, call: Any, result: ExportResult) -> bytes:
        """Acknowledge a request once Kafka has its predictions; the call is canceled if its client goes."""
        end_s = time.monotonic() + self._limit_s
        while not self._receiver.is_stored(result):
            if time.monotonic() >= end_s:
                await _later(call, f"Kafka has not stored the predictions within {self._limit_s:g} s")
            await asyncio.sleep(POLL_S)
        return encode_result(result)


async def _later(call: Any, reason: str) -> NoReturn:
    await call.abort(_Code.UNAVAILABLE, f"{reason}. Send the request again later.")
    raise AssertionError("abort raises")
