"""OTLP over HTTP: `POST /v1/traces` in protobuf and JSON.

It has no authentication: bind it to the loopback address, or put the OpenTelemetry Collector before it. Pages cannot
use it: requests of browsers (with `Origin`) and requests under unknown host names are rejected.
"""

import asyncio
import ctypes
import json
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.otlp.receiver import ExportResult, QueueFull, Receiver
from barograph_server.streams.otlp.rejection import ExportError, RequestReason
from barograph_server.streams.otlp.settings import Encoding, OtlpSettings
from barograph_server.streams.otlp.span import MAX_REQUEST_BYTES, check_size
from barograph_server.streams.runtime.http_server import HttpServer, is_known, known_names

PATH = "/v1/traces"
RETRY_AFTER_S = 5
"""When an exporter shall send a refused request again: exporters wait at least this long."""
BODY_S = 20.0
"""Longest time in which a body must arrive."""
MAX_BODIES_BYTES = 2 * MAX_REQUEST_BYTES
"""Bytes of bodies that are in memory at once; more requests are refused."""
MAX_CONNECTIONS = 200
STORE_S = 4.0
"""How long an answer waits until Kafka has the predictions, in addition to the wait of calls for their parents. Both
are less, by default, than the ten seconds after which exporters give up."""
HEADERS_S = 5.0
"""Longest time in which the headers of a request must arrive; then the connection is closed."""
MAX_GZIP_MEMBERS = 100
LARGE_BYTES = 1 << 20
"""Unpacked bodies of this size may take hundreds of megabytes while they are decoded."""
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Of glibc; other libraries have no such function."""
POLL_S = 0.02
QUEUE_IS_FULL = "Kafka accepts fewer predictions than arrive, and the queue is full"
_PROTOBUF, _JSON = "application/x-protobuf", "application/json"
_ENCODINGS: dict[str, Encoding] = {_PROTOBUF: "protobuf", _JSON: "json"}
_INVALID, _NOT_FOUND, _EXHAUSTED, _UNIMPLEMENTED, _UNAVAILABLE = 3, 5, 8, 12, 14
"""Codes of google.rpc.Status."""
_STATUS_CODES = {404: _NOT_FOUND, 405: _UNIMPLEMENTED, 413: _EXHAUSTED, 429: _UNAVAILABLE, 503: _UNAVAILABLE}


class OtlpEndpoint(HttpServer):
    """The HTTP server, on a thread of its own."""

    def __init__(self, receiver: Receiver, otlp: OtlpSettings, store_s: float = STORE_S) -> None:
        """Bind the port; requests are answered after `start`.

        Args:
            store_s: how long an answer waits until Kafka has the predictions, after the wait for parents.
        """
        self._receiver, self._names = receiver, known_names(otlp.host, otlp.names)
        self._limit_s = otlp.wait_s + store_s
        self._turn = asyncio.Lock()
        """Held while a body is unpacked and read: unpacked bodies are in memory one at a time."""
        self._has_read_large = False
        self.reader = ThreadPoolExecutor(1, "otlp-reader")
        """Runs `read`. One thread: the allocator keeps memory for each thread that took it."""
        self.buffered_bytes = 0
        """Bytes of bodies that are in memory."""
        app = Starlette(
            routes=[Route(PATH, self._traces, methods=["POST"])], exception_handlers={HTTPException: _http_error}
        )
        try:
            super().__init__(
                app,
                otlp.host,
                otlp.port,
                "otlp",
                log_level="critical",
                http=_LimitedHeaders,
                lifespan="off",
                limit_concurrency=MAX_CONNECTIONS,
                timeout_graceful_shutdown=2,
            )
        except OSError as error:
            raise ProcessorError(
                f"OTLP exports cannot be received at {otlp.host}:{otlp.port}: {error.strerror}. Set otlp.host and "
                "otlp.port to a free address."
            ) from error

    def stop(self, timeout_s: float = 3.0) -> None:
        """Finish running requests, then stop."""
        super().stop(timeout_s)
        self.reader.shutdown(wait=False)

    async def _traces(self, request: Request) -> Response:
        if "origin" in request.headers:
            return _error(request, 403, "Requests of browsers are rejected.")
        if not all(is_known(host, self._names) for host in request.headers.getlist("host")):
            return _error(
                request, 421, "The receiver does not know the host name of the request. Add it to otlp.names."
            )
        encoding = _ENCODINGS.get(_content_type(request))
        if encoding is None:
            return _error(request, 415, f"The content type must be {_PROTOBUF} or {_JSON}.")
        compression = request.headers.get("content-encoding", "identity").strip().lower()
        if compression not in ("identity", "gzip", ""):
            return _error(request, 415, "The content encoding must be gzip, or none.")
        if self._receiver.is_full or self.buffered_bytes >= MAX_BODIES_BYTES:
            return _refused(request)
        body = _Body(self)
        try:
            async with asyncio.timeout(BODY_S):
                await body.read(request)
            async with self._turn:
                if await request.is_disconnected():
                    raise ClientDisconnect
                # Embedding texts can take seconds, in which the bodies of others must arrive.
                loop = asyncio.get_running_loop()
                result = await loop.run_in_executor(self.reader, self.read, body.data, compression == "gzip", encoding)
        except ExportError as error:
            await asyncio.to_thread(self._receiver.count_rejected_request, error)
            return _error(request, 413 if error.reason is RequestReason.TOO_LARGE else 400, str(error))
        except QueueFull:
            return _refused(request)
        except TimeoutError:
            return _error(request, 408, f"The body did not arrive within {BODY_S:.0f} s.")
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            body.release()
        return await self._answer(request, encoding, result)

    def read(self, data: bytes | bytearray, is_packed: bool, encoding: Encoding) -> ExportResult:
        """Accept a body, also one of gRPC; called on the thread of `reader`.

        Raises:
            ExportError: it cannot be read.
            QueueFull: it was not read.
        """
        data = unpack(data) if is_packed else bytes(data)
        self._has_read_large = self._has_read_large or len(data) > LARGE_BYTES
        try:
            return self._receiver.receive(data, encoding)
        except ExportError as error:
            # The frames of the traceback hold the decoded message.
            raise error.with_traceback(None) from None

    def give_back_memory(self) -> None:
        """Return to the system what large bodies took; the allocator would keep it. Call it about every second."""
        if self._has_read_large:
            self._has_read_large = False
            if _TRIM is not None:
                _TRIM(0)

    async def _answer(self, request: Request, encoding: Encoding, result: ExportResult) -> Response:
        """Acknowledge a request once Kafka has its predictions."""
        end_s = time.monotonic() + self._limit_s
        while not self._receiver.is_stored(result):
            if time.monotonic() >= end_s:
                return _later(request, 503, f"Kafka has not stored the predictions within {self._limit_s:g} s")
            if await request.is_disconnected():
                return Response(status_code=400)
            await asyncio.sleep(POLL_S)
        return _accepted(encoding, result)


class _LimitedHeaders(H11Protocol):
    """Closes a connection if the headers of a request do not arrive in time; bodies have `BODY_S`."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._limit()

    def _limit(self) -> None:
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._timer = self.loop.call_later(HEADERS_S, self._end, self.cycle)

    def _end(self, cycle: object) -> None:
        self._timer = None
        if self.cycle is cycle:
            self.transport.close()
        else:
            self._limit()


class _Body:
    """The body of one request, which counts among the bytes of all bodies."""

    def __init__(self, endpoint: OtlpEndpoint) -> None:
        self._endpoint = endpoint
        self.data = bytearray()

    async def read(self, request: Request) -> None:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal():
            check_size(int(declared[:20]))
        async for chunk in request.stream():
            check_size(len(self.data) + len(chunk))
            if self._endpoint.buffered_bytes + len(chunk) > MAX_BODIES_BYTES:
                raise QueueFull
            self._endpoint.buffered_bytes += len(chunk)
            self.data += chunk

    def release(self) -> None:
        self._endpoint.buffered_bytes -= len(self.data)
        self.data = bytearray()


def unpack(data: bytes | bytearray) -> bytes:
    """Unpack gzip, which may have several members."""
    unpacked = bytearray()
    for _ in range(MAX_GZIP_MEMBERS):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            unpacked += unpacker.decompress(data, MAX_REQUEST_BYTES + 1 - len(unpacked))
        except zlib.error:
            raise ExportError(RequestReason.NOT_GZIP, "The content encoding is gzip, and the body is not.") from None
        check_size(len(unpacked))
        if not unpacker.eof:
            raise ExportError(RequestReason.NOT_GZIP, "The gzip of the body is cut off.")
        data = unpacker.unused_data
        if not data:
            return bytes(unpacked)
    raise ExportError(RequestReason.NOT_GZIP, f"The gzip of the body has more than {MAX_GZIP_MEMBERS} members.")


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def encode_result(result: ExportResult) -> bytes:
    """Encode an `ExportTraceServiceResponse`."""
    message = ExportTraceServiceResponse()
    if result.rejected:
        message.partial_success.rejected_spans = result.rejected
        message.partial_success.error_message = result.message
    return bytes(message.SerializeToString())


def _accepted(encoding: Encoding, result: ExportResult) -> Response:
    if encoding == "protobuf":
        return Response(encode_result(result), media_type=_PROTOBUF)
    body: dict[str, Any] = {}
    if result.rejected:
        body["partialSuccess"] = {"rejectedSpans": str(result.rejected), "errorMessage": result.message}
    return Response(json.dumps(body), media_type=_JSON)


def _refused(request: Request) -> Response:
    return _later(request, 429, QUEUE_IS_FULL)


def _later(request: Request, status: int, reason: str) -> Response:
    return _error(request, status, f"{reason}. Send the request again later.", {"Retry-After": str(RETRY_AFTER_S)})


def _error(request: Request, status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """Answer with a google.rpc.Status in the encoding of the request, JSON by default."""
    code = _STATUS_CODES.get(status, _INVALID)
    if _content_type(request) == _PROTOBUF:
        return Response(_status_message(code, message), status, headers, _PROTOBUF)
    return Response(json.dumps({"code": code, "message": message}), status, headers, _JSON)


def _status_message(code: int, message: str) -> bytes:
    """Encode a google.rpc.Status: code is field 1, message field 2. Its class is not among the dependencies."""
    text = message.encode()[:2_000]
    length = bytes((len(text) & 0x7F | 0x80, len(text) >> 7)) if len(text) > 0x7F else bytes((len(text),))
    return bytes((0x08, code, 0x12)) + length + text


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _error(
            request,
            404,
            f"Barograph receives traces at {PATH} only. Set OTEL_METRICS_EXPORTER=none and OTEL_LOGS_EXPORTER=none, or "
            "send metrics and logs elsewhere.",
        )
    return _error(request, error.status_code, f"{error.detail}. Send a POST to {PATH}.", dict(error.headers or {}))
