import gzip
import zlib

import pyarrow as pa
import pytest

from local.http_gateway import BadRequest, decode_body

PLAIN = b"INSERT INTO t FORMAT CSV\n" + b"1,2\n" * 10_000


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (None, PLAIN),
        ("identity", PLAIN),
        ("lz4", pa.compress(PLAIN, "lz4", asbytes=True)),
        ("lz4", pa.compress(PLAIN[:100], "lz4", asbytes=True) + pa.compress(PLAIN[100:], "lz4", asbytes=True)),
        ("zstd", pa.compress(PLAIN, "zstd", asbytes=True)),
        ("zstd", pa.compress(PLAIN[:100], "zstd", asbytes=True) + pa.compress(PLAIN[100:], "zstd", asbytes=True)),
        ("gzip", gzip.compress(PLAIN)),
        ("deflate", zlib.compress(PLAIN)),
    ],
)
def test_every_encoding_that_clients_use_is_undone(encoding: str | None, body: bytes) -> None:
    assert decode_body(body, encoding) == PLAIN


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate"])
def test_damaged_bytes_are_a_bad_request(encoding: str) -> None:
    with pytest.raises(BadRequest, match=encoding):
        decode_body(b"INSERT INTO t", encoding)


def test_an_unknown_encoding_names_those_that_are_known() -> None:
    with pytest.raises(BadRequest, match="'br' is not supported; use lz4, zstd, gzip or deflate"):
        decode_body(b"x", "br")
