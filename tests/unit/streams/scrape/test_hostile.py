"""Endpoints that are down, slow, large or hostile: one outcome for each, and nothing of an answer in a message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from barograph_server.streams.scrape.exposition import MAX_LINE_CHARS, MAX_SAMPLES, parse_exposition
from barograph_server.streams.scrape.facts import FactReader
from barograph_server.streams.scrape.http_fetch import fetch
from barograph_server.streams.scrape.server_table import ScrapeError, ScrapeOutcome, load_server_table
from barograph_server.streams.scrape.settings import ScrapeTarget
from tests.support.scripted_http import Answer, ScriptedServer, cut, hang, reply

Serve = Callable[[Answer], ScrapeTarget]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as servers:
        yield lambda answer: target_of(servers.enter_context(ScriptedServer(answer)))


def target_of(server: ScriptedServer, *, tls: bool = False) -> ScrapeTarget:
    return ScrapeTarget("answers", f"http{'s' * tls}://127.0.0.1:{server.port}/metrics")


def outcome(target: ScrapeTarget, timeout_s: float = 20.0, max_bytes: int = 1000) -> ScrapeOutcome:
    with pytest.raises(ScrapeError) as error:
        fetch(target, timeout_s, max_bytes=max_bytes)
    assert "secret" not in str(error.value)
    return error.value.outcome


def test_the_token_is_sent_and_the_body_returned() -> None:
    with ScriptedServer(reply(b"up 1\n")) as server:
        assert fetch(target_of(server), 20.0, "t0ken") == b"up 1\n"
        assert fetch(target_of(server), 20.0) == b"up 1\n"
    tokens = [(request.path, request.headers["Authorization"]) for request in server.requests]
    assert tokens == [("/metrics", "Bearer t0ken"), ("/metrics", None)]


@pytest.mark.parametrize("status", [401, 404, 500, 204, 302])
def test_another_status_is_rejected(serve: Serve, status: int) -> None:
    kind = ScrapeOutcome.REDIRECTED if status == 302 else ScrapeOutcome.BAD_STATUS
    assert outcome(serve(reply(b"secret", status))) is kind


def test_an_exchange_that_fails_has_an_outcome(serve: Serve) -> None:
    assert outcome(serve(reply(b"a 1\n" * 500))) is ScrapeOutcome.TOO_LARGE
    assert outcome(serve(reply(b"a 1\n", Content_Encoding="gzip"))) is ScrapeOutcome.UNREADABLE
    assert outcome(serve(hang), timeout_s=0.2) is ScrapeOutcome.TIMEOUT
    assert outcome(serve(cut)) is ScrapeOutcome.UNREACHABLE
    with ScriptedServer(reply(b"up 1\n")) as server:
        assert outcome(target_of(server, tls=True)) is ScrapeOutcome.UNREACHABLE
    assert outcome(target_of(server)) is ScrapeOutcome.UNREACHABLE


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>secret</body></html>",
        b"\xff\xfe\x00",
        b'a{le="1" 3\n',
        b"a " + b"9" * 400 + b"e400000000000000000 x\n",
        b'a{b="' + b"x" * MAX_LINE_CHARS + b'"} 1\n',
        b"a{" + b",".join(b'l%d="v"' % i for i in range(100)) + b"} 1\n",
        b"".join(b"a%d 1\n" % i for i in range(MAX_SAMPLES + 1)),
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


def test_the_largest_count_of_a_bucket_is_stored() -> None:
    reader = FactReader(load_server_table(), "answers", "host:8000")
    reader.read(parse_exposition(histogram(0.0, 0.0, n_series=1)), 0)
    facts = reader.read(parse_exposition(histogram(2.0**64 - 2048, 1.0, n_series=1)), 15_000)
    assert [row.bucket_counts for row in facts.rows if row.name == "ttft_ms"] == [(2**64 - 2048,)]
    assert not facts.rejected
