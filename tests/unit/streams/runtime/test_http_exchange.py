"""Servers that are down, slow, large or hostile: one failure for each, and no secret in an error or a log."""

from __future__ import annotations

import gzip
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from barograph_server.streams.runtime.http_exchange import (
    HttpAnswer,
    HttpClient,
    HttpError,
    HttpFailure,
    exchange_once,
    tls_context,
)
from tests.support.scripted_http import Answer, Exchange, ScriptedServer, cut, hang, reply

Serve = Callable[[Answer], ScriptedServer]
SECRET = "s3cret"
HEADERS = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as servers:
        yield lambda answer: servers.enter_context(ScriptedServer(answer))


def get(url: str, timeout_s: float = 20.0, max_bytes: int = 1000) -> HttpAnswer:
    return HttpClient(max_bytes).exchange("GET", f"{url}/{SECRET}", timeout_s, HEADERS)


def failure(url: str, timeout_s: float = 20.0, max_bytes: int = 1000) -> HttpFailure:
    with pytest.raises(HttpError) as error:
        get(url, timeout_s, max_bytes)
    shown = "".join(traceback.format_exception(error.value)) + repr(error.value) + error.value.reason
    assert SECRET not in shown
    assert "server text" not in shown
    return error.value.kind


def drop_in_the_body(exchange: Exchange) -> None:
    exchange.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choices": []}')
    exchange.close_connection = True


def drop_in_a_chunk(exchange: Exchange) -> None:
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nx")
    exchange.close_connection = True


def no_http(exchange: Exchange) -> None:
    exchange.wfile.write(b"220 server text ready\r\n\r\n")
    exchange.close_connection = True


def drip_the_head(exchange: Exchange) -> None:
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not exchange.server.stopping.wait(0.02):
        exchange.wfile.write(b"X-More: 1\r\n")


def test_each_answer_that_cannot_be_used_has_its_failure(serve: Serve) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    for answer, kind in (
        (cut, HttpFailure.CLOSED),
        (drop_in_the_body, HttpFailure.CLOSED),
        (drop_in_a_chunk, HttpFailure.CLOSED),
        (no_http, HttpFailure.NOT_HTTP),
        (reply(bomb, Content_Encoding="gzip"), HttpFailure.COMPRESSED),
        (reply(b"a 1\n" * 500), HttpFailure.TOO_LARGE),
        (lambda exchange: exchange.drip(b"a 1\n" * 500), HttpFailure.TOO_LARGE),
    ):
        server = serve(answer)
        assert failure(server.url) is kind, answer
        assert len(server.requests) == 1, "a new connection is not tried twice"


def test_the_time_limit_is_for_the_whole_exchange(serve: Serve) -> None:
    for answer in (hang, lambda exchange: exchange.drip(b"#"), drip_the_head):
        assert failure(serve(answer).url, 0.3, 1 << 20) is HttpFailure.TIMEOUT


def test_a_server_that_is_down_or_has_no_tls_is_unreachable() -> None:
    with ScriptedServer(reply(b"up 1\n")) as server:
        assert failure(server.url.replace("http:", "https:")) is HttpFailure.TLS
    assert failure(server.url) is HttpFailure.UNREACHABLE
    for url in ("http://[s3cret", "http://h:s3cret", "http://ho st", "http://host/v1\r\nX: 1", "ftp://host", "s3cret"):
        assert failure(url) is HttpFailure.NOT_SENT, url
    with pytest.raises(HttpError) as error:
        HttpClient().exchange("GET", server.url, 1.0, {"Authorization": f"{SECRET}\nX: 1"})
    assert error.value.kind is HttpFailure.NOT_SENT
    assert tls_context() is tls_context()


def test_a_redirect_is_not_followed_and_other_bodies_are_not_read(serve: Serve) -> None:
    other = serve(reply(b"up 1\n"))
    answer = get(serve(reply(b"server text", 302, reason="server text", Location=f"{other.url}/")).url)
    assert (answer.status, answer.title, answer.body) == (302, "302 Found", b"")
    assert other.requests == []
    assert exchange_once("GET", serve(lambda exchange: exchange.drip(b"#")).url, 20.0).body == b""
    assert SECRET not in repr(get(serve(reply(SECRET.encode(), X=SECRET)).url))


def test_connections_are_reused_or_replaced(serve: Serve) -> None:
    server, client = serve(reply(b"Yes.")), HttpClient(1000)
    for _ in range(5):
        assert client.exchange("POST", server.url, 20.0, HEADERS, b"x").body == b"Yes."
    assert len({request.peer for request in server.requests}) == 1
    client.close()
    client.exchange("POST", server.url, 20.0)
    assert len({request.peer for request in server.requests}) == 2

    def answer(exchange: Exchange) -> None:
        # It announces nothing, so that the client keeps the connection.
        exchange.send(b"Yes.")
        exchange.close_connection = True

    def cut_a_kept_connection(exchange: Exchange) -> None:
        if sum(request.peer == exchange.client_address for request in exchange.server.requests) > 1:
            return cut(exchange)
        return exchange.send(b"Yes.")

    for each in (answer, cut_a_kept_connection):
        url = serve(each).url
        assert [client.exchange("POST", url, 20.0, None, b"x").body for _ in range(3)] == [b"Yes."] * 3


def test_retry_after() -> None:
    for value, seconds in (
        ("7", 7.0),
        ("Fri, 31 Dec 2999 23:59:59 GMT", 3600.0),
        ("99999999999999999999", 0.0),
        ("-5", 0.0),
        ("", 0.0),
    ):
        assert HttpAnswer(429, {"Retry-After": value}, b"").retry_after_s == seconds, value


def test_a_proxy_is_used_only_on_request(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = serve(reply(status=202)), serve(reply())
    for address in (f"http://u:{SECRET}@127.0.0.1:{proxy.port}", f"127.0.0.1:{proxy.port}"):
        monkeypatch.setenv("http_proxy", address)
        assert get(server.url).status == 200
        assert HttpClient(uses_proxies=True).exchange("POST", "http://host.invalid/x", 20.0).status == 202
    assert proxy.requests[0].path == "http://host.invalid/x"
    assert proxy.requests[0].headers["Proxy-Authorization"].startswith("Basic ")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert HttpClient(uses_proxies=True).exchange("POST", server.url, 20.0).status == 200


def test_headers_that_cannot_be_read_do_not_reveal_the_url(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.wfile.write(b"HTTP/1.1 200 OK\r\nno header\r\nContent-Length: 0\r\n\r\n")
        exchange.close_connection = True

    with caplog.at_level(logging.DEBUG):
        get(serve(answer).url)
    assert SECRET not in caplog.text
