"""OTLP over HTTP: `POST /v1/traces` in protobuf and JSON.

It has no authentication: bind it to the loopback address, or put the OpenTelemetry Collector before it. Browsers cannot
reach it from foreign pages, since both content types need a CORS preflight, which it does not answer.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import zlib
from typing import Any

import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.otlp.receiver import ExportResult, QueueFull, Receiver
from barograph_server.streams.otlp.rejection import ExportError, RequestReason
from barograph_server.streams.otlp.settings import Encoding
from barograph_server.streams.otlp.span import MAX_REQUEST_BYTES, check_size

PATH = "/v1/traces"
RETRY_AFTER_S = 5
"""When an exporter shall send a refused request again: exporters wait at least this long."""
BODY_S = 20.0
"""Longest time in which a body must arrive."""
MAX_BODIES_BYTES = 4 * MAX_REQUEST_BYTES
"""Bytes of bodies that are in memory at once; more requests are refused."""
MAX_CONNECTIONS = 200
STORE_S = 4.0
"""How long an answer waits until Kafka has the predictions, in addition to the wait of calls for their parents. Both
are less, by default, than the ten seconds after which exporters give up."""
_POLL_S = 0.02
_PROTOBUF, _JSON = "application/x-protobuf", "application/json"
_ENCODINGS: dict[str, Encoding] = {_PROTOBUF: "protobuf", _JSON: "json"}
_INVALID, _NOT_FOUND, _EXHAUSTED, _UNIMPLEMENTED, _UNAVAILABLE = 3, 5, 8, 12, 14
"""Codes of google.rpc.Status."""
_STATUS_CODES = {404: _NOT_FOUND, 405: _UNIMPLEMENTED, 413: _EXHAUSTED, 429: _UNAVAILABLE, 503: _UNAVAILABLE}


class OtlpEndpoint:
    """The HTTP server, on a thread of its own."""

    def __init__(self, receiver: Receiver, host: str, port: int, limit_s: float) -> None:
        """Bind the port; requests are answered after `start`.

        Args:
            receiver: reads the requests.
            host: to listen on.
            port: 0 for any free one.
            limit_s: how long an answer waits until Kafka has the predictions.

        Raises:
            ProcessorError: the address cannot be bound.
        """
        self._receiver, self._limit_s = receiver, limit_s
        self.buffered_bytes = 0
        """Bytes of bodies that are in memory."""
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((host, port), family=family, backlog=128)
        except OSError as error:
            raise ProcessorError(
                f"OTLP exports cannot be received at {host}:{port}: {error.strerror}. Set otlp.host and otlp.port to a "
                "free address."
            ) from error
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            self._app(),
            log_level="critical",
            access_log=False,
            ws="none",
            lifespan="off",
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="otlp", daemon=True)

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the server runs."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Finish running requests, then stop."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve([self._socket]))

    def _app(self) -> Starlette:
        return Starlette(
            routes=[Route(PATH, self._traces, methods=["POST"])], exception_handlers={HTTPException: _http_error}
        )

    async def _traces(self, request: Request) -> Response:
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
            data = unpack(body.data) if compression == "gzip" else bytes(body.data)
            # Embedding texts can take seconds, in which the bodies of others must arrive.
            result = await asyncio.to_thread(self._receiver.receive, data, encoding)
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

    async def _answer(self, request: Request, encoding: Encoding, result: ExportResult) -> Response:
        """Acknowledge a request once Kafka has its predictions."""
        end_s = time.monotonic() + self._limit_s
        while not self._receiver.is_stored(result):
            if time.monotonic() >= end_s:
                return _later(request, 503, f"Kafka has not stored the predictions within {self._limit_s:g} s")
            await asyncio.sleep(_POLL_S)
        return _accepted(encoding, result)


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
            self._endpoint.buffered_bytes += len(chunk)
            self.data += chunk

    def release(self) -> None:
        self._endpoint.buffered_bytes -= len(self.data)
        self.data = bytearray()


def unpack(data: bytes | bytearray) -> bytes:
    """Unpack gzip.

    Raises:
        ExportError: it is not gzip, cut off, or larger than an export request may be.
    """
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(data, MAX_REQUEST_BYTES + 1)
    except zlib.error:
        raise ExportError(RequestReason.NOT_GZIP, "The content encoding is gzip, and the body is not.") from None
    check_size(len(unpacked))
    if not unpacker.eof:
        raise ExportError(RequestReason.NOT_GZIP, "The gzip of the body is cut off.")
    return unpacked


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _accepted(encoding: Encoding, result: ExportResult) -> Response:
    if encoding == "protobuf":
        message = ExportTraceServiceResponse()
        if result.rejected:
            message.partial_success.rejected_spans = result.rejected
            message.partial_success.error_message = result.message
        return Response(message.SerializeToString(), media_type=_PROTOBUF)
    body: dict[str, Any] = {}
    if result.rejected:
        body["partialSuccess"] = {"rejectedSpans": str(result.rejected), "errorMessage": result.message}
    return Response(json.dumps(body), media_type=_JSON)


def _refused(request: Request) -> Response:
    return _later(request, 429, "Kafka accepts fewer predictions than arrive, and the queue is full")


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
