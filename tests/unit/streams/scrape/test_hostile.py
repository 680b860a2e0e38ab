"""Endpoints that are down, slow, large or hostile: one outcome for each, and nothing of an answer in a message."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from streams.scrape.exposition import MAX_LINE_CHARS, MAX_SAMPLES, parse_exposition
from streams.scrape.facts import FactReader
from streams.scrape.failure import ScrapeError, ScrapeOutcome
from streams.scrape.http_fetch import fetch
from streams.scrape.server_table import load_server_table
from streams.scrape.settings import ScrapeTarget
from tests.support.judge_server import send

Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], ScrapeTarget]]:
    """Start servers that answer as a function says, and return their targets."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> ScrapeTarget:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return ScrapeTarget("answers", False, "127.0.0.1", server.server_port, "/metrics")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def outcome(target: ScrapeTarget, timeout_s: float = 20.0, max_bytes: int = 1000) -> ScrapeOutcome:
    with pytest.raises(ScrapeError) as error:
        fetch(target, timeout_s, max_bytes=max_bytes)
    assert "secret" not in str(error.value)
    return error.value.outcome


def test_the_token_is_sent_and_the_body_returned(serve: Callable[[Answer], ScrapeTarget]) -> None:
    requests: list[tuple[str, str | None]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        requests.append((handler.path, handler.headers["Authorization"]))
        send(handler, b"up 1\n")

    target = serve(answer)
    assert fetch(target, 20.0, "t0ken") == b"up 1\n"
    assert fetch(target, 20.0) == b"up 1\n"
    assert requests == [("/metrics", "Bearer t0ken"), ("/metrics", None)]


def test_a_redirect_is_not_followed(serve: Callable[[Answer], ScrapeTarget]) -> None:
    requests: list[str] = []

    def other(handler: BaseHTTPRequestHandler) -> None:
        requests.append(handler.path)
        send(handler, b"up 1\n")

    second = serve(other)
    target = serve(lambda handler: send(handler, b"", 302, Location=f"http://127.0.0.1:{second.port}/secret"))
    assert outcome(target) is ScrapeOutcome.REDIRECTED
    assert requests == []


def test_answers_that_are_rejected(serve: Callable[[Answer], ScrapeTarget]) -> None:
    for status in (401, 404, 500, 204):
        target = serve(lambda handler: send(handler, b"secret", status))  # noqa: B023
        assert outcome(target) is ScrapeOutcome.BAD_STATUS, status
    assert outcome(serve(lambda handler: send(handler, b"a 1\n" * 500))) is ScrapeOutcome.TOO_LARGE

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"a 1\n" * 500)

    assert outcome(serve(endless)) is ScrapeOutcome.TOO_LARGE
    body = gzip.compress(b"a 1\n" * 100_000)
    compressed = serve(lambda handler: send(handler, body, Content_Encoding="gzip"))
    assert outcome(compressed) is ScrapeOutcome.UNREADABLE
    plain = serve(lambda handler: send(handler, b"up 1\n"))
    assert outcome(ScrapeTarget("answers", True, plain.host, plain.port, "/metrics")) is ScrapeOutcome.UNREACHABLE
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    assert outcome(ScrapeTarget("answers", False, "127.0.0.1", port, "/metrics")) is ScrapeOutcome.UNREACHABLE


def test_the_time_limit_is_for_the_whole_answer(serve: Callable[[Answer], ScrapeTarget]) -> None:
    stop = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stop.wait(0.05):
            try:
                handler.wfile.write(b"#")
                handler.wfile.flush()
            except OSError:
                return

    try:
        assert outcome(serve(trickle), timeout_s=0.3, max_bytes=1 << 20) is ScrapeOutcome.TIMEOUT
    finally:
        stop.set()


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>secret</body></html>",
        b"\xff\xfe\x00",
        b'a{le="1" 3\n',
        b"a b c d e\n",
        b"a " + b"9" * 400 + b"e400000000000000000 x\n",
        b'a{b="' + b"x" * MAX_LINE_CHARS + b'"} 1\n',
        b"a{" + b",".join(b'l%d="v"' % i for i in range(100)) + b"} 1\n",
        b"".join(b"a%d 1\n" % i for i in range(MAX_SAMPLES + 1)),
        b'{"secret"} 3\n{"b",c="d"} 4\n\x00\n',
    ],
)
def test_a_body_that_is_not_a_text_of_metrics_is_unreadable(body: bytes) -> None:
    with pytest.raises(ScrapeError) as error:
        parse_exposition(body)
    assert error.value.outcome is ScrapeOutcome.UNREADABLE
    assert "secret" not in str(error.value)


def histogram(count: float, total: float, *, n_series: int) -> bytes:
    name = "vllm:time_to_first_token_seconds"
    lines = [f"# TYPE {name} histogram"]
    for part, value in (("bucket", count), ("sum", total), ("count", count)):
        end = ',le="+Inf"' if part == "bucket" else ""
        lines += [f'{name}_{part}{{engine="{i}"{end}}} {value!r}' for i in range(n_series)]
    return "\n".join([*lines, ""]).encode()


@pytest.mark.parametrize(
    ("count", "total", "n_series", "n_rows"),
    [(1e300, 1.0, 1, 1), (2.0**64, 1.0, 1, 1), (1.7e308, 1.0, 2, 0), (3.0, 1.7e308, 2, 0), (3.0, 1.7e308, 1, 0)],
)
def test_absurd_numbers_of_a_histogram_are_inconsistent(count: float, total: float, n_series: int, n_rows: int) -> None:
    reader = FactReader(load_server_table(), "answers", "host:8000")
    reader.read(parse_exposition(histogram(0.0, 0.0, n_series=n_series)), 0)
    facts = reader.read(parse_exposition(histogram(count, total, n_series=n_series)), 15_000)
    rows = [row for row in facts.rows if row.name == "ttft_ms"]
    assert [(row.n, row.bucket_counts) for row in rows] == [(count, ())] * n_rows
    assert facts.rejected == {"inconsistent": 1}
    facts = reader.read(parse_exposition(histogram(count, total, n_series=n_series)), 30_000)
    assert [row.name for row in facts.rows] == ["up"]


def test_the_largest_count_of_a_bucket_is_stored_and_an_empty_body_has_no_metrics() -> None:
    reader = FactReader(load_server_table(), "answers", "host:8000")
    reader.read(parse_exposition(histogram(0.0, 0.0, n_series=1)), 0)
    facts = reader.read(parse_exposition(histogram(2.0**64 - 2048, 1.0, n_series=1)), 15_000)
    assert [row.bucket_counts for row in facts.rows if row.name == "ttft_ms"] == [(2**64 - 2048,)]
    assert not facts.rejected
    assert not parse_exposition(b"").samples
