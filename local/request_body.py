"""Reads the body of an HTTP request: its framing, its Content-Encoding, and the limit of its size.

Anything ambiguous is an error, because two programs that disagree about where a body ends also disagree about where the
next request begins.
"""

import re
import zlib
from collections.abc import Iterator
from email.message import Message
from http import HTTPStatus
from io import BufferedIOBase

import pyarrow as pa

MAX_BODY_BYTES = 512 * 2**20
"""Limit of a body, as sent and as decoded. Inserts of the processors stay far below it."""

_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_PIECE_BYTES = 2**20
_LINE_BYTES = 65_536


class RequestError(Exception):
    """The request cannot be processed; the text is the answer.

    Attributes:
        status: The HTTP status of the answer.
        code: ClickHouse's error code for it; None for an error that only HTTP has.
    """

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def read_body(headers: Message, stream: BufferedIOBase, limit: int = MAX_BODY_BYTES) -> bytes:
    """Read and decode the body that follows `headers` in `stream`.

    Raises:
        RequestError: Its framing is invalid or ambiguous, it is damaged or cut short, its encoding is unknown, or it is
            larger than `limit`, as sent or decoded.
    """
    lengths = headers.get_all("Content-Length", [])
    transfer_encodings = headers.get_all("Transfer-Encoding", [])
    if len(lengths) + len(transfer_encodings) > 1:
        raise RequestError("The request has several Content-Length or Transfer-Encoding headers; send one of them.")
    if transfer_encodings:
        if transfer_encodings[0].strip().lower() != "chunked":
            raise RequestError("The Transfer-Encoding is not supported; use chunked.")
        body = b"".join(_chunks(stream, limit))
    elif lengths:
        body = _read_exactly(stream, _length(lengths[0], limit))
    else:
        return b""
    return decode_body(body, headers.get("Content-Encoding"), limit)


def decode_body(body: bytes, encoding: str | None, limit: int = MAX_BODY_BYTES) -> bytes:
    """Decode a request body by its Content-Encoding: lz4 (frames), zstd, gzip, deflate, or none.

    Raises:
        RequestError: The encoding is unknown, the body is damaged, or it is larger than `limit` once decoded.
    """
    try:
        match encoding:
            case _ if not body:
                return body
            case None | "" | "identity":
                return body
            case "lz4" | "zstd":
                pieces = _decompressed_by_arrow(body, encoding)
            case "gzip":
                pieces = _inflated(body, 16 + zlib.MAX_WBITS)
            case "deflate":
                pieces = _inflated(body, zlib.MAX_WBITS)
            case _:
                raise RequestError(f"Content-Encoding {encoding!r} is not supported; use lz4, zstd, gzip or deflate.")
        return b"".join(_limited(pieces, limit))
    except (OSError, EOFError, zlib.error) as error:
        raise RequestError(f"The body is not valid {encoding}: {error}") from error


def _length(text: str, limit: int) -> int:
    if not _LENGTH.fullmatch(text.strip(" \t")):
        raise RequestError(f"Content-Length {text!r} is not a number.")
    length = int(text)
    if length > limit:
        raise _too_large(limit)
    return length


def _chunks(stream: BufferedIOBase, limit: int) -> Iterator[bytes]:
    total = 0
    while True:
        size_line = _CHUNK_SIZE.fullmatch(stream.readline(1024))
        if size_line is None:
            raise RequestError("The chunked body is damaged or was cut short.")
        size = int(size_line[1], 16)
        if size == 0:
            break
        total += size
        if total > limit:
            raise _too_large(limit)
        yield _read_exactly(stream, size)
        if stream.readline(2) != b"\r\n":
            raise RequestError("The chunked body is damaged or was cut short.")
    trailer = 0
    while (line := stream.readline(_LINE_BYTES)) != b"\r\n":
        trailer += len(line)
        if not line.endswith(b"\r\n") or trailer > _LINE_BYTES:
            raise RequestError("The end of the chunked body is damaged or was cut short.")


def _read_exactly(stream: BufferedIOBase, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise RequestError("The connection closed in the middle of the body.")
    return data


def _decompressed_by_arrow(body: bytes, encoding: str) -> Iterator[bytes]:
    with pa.input_stream(pa.BufferReader(body), compression=encoding) as stream:
        while piece := stream.read(_PIECE_BYTES):
            yield piece


def _inflated(body: bytes, window_bits: int) -> Iterator[bytes]:
    """Decompress the members of a gzip file, or a zlib stream."""
    view, start = memoryview(body), 0
    decoder = zlib.decompressobj(window_bits)
    while start < len(view) or not decoder.eof:
        if decoder.eof:
            decoder = zlib.decompressobj(window_bits)
        # The decoder copies the input that it does not use, so it gets a little at a time.
        data = view[start : start + _LINE_BYTES]
        piece = decoder.decompress(data, _PIECE_BYTES)
        used = len(data) - len(decoder.unconsumed_tail) - len(decoder.unused_data)
        if not (piece or used or decoder.eof):
            raise EOFError("it was cut short")
        start += used
        yield piece


def _limited(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit:
            raise _too_large(limit)
        yield piece


def _too_large(limit: int) -> RequestError:
    return RequestError(
        f"The body is larger than {limit // 2**20} MiB; send it in several requests.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    )
