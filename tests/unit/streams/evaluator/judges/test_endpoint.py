"""Endpoints that are down, slow, large or hostile: one code for each, and no secret in a message."""

from __future__ import annotations

import gzip
import socket
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from barograph.prompts.content import PromptMessage

from barograph_server.streams.evaluator.judges.chat import ChatParameters, ChatRequest
from barograph_server.streams.evaluator.judges.endpoint import ChatEndpoint, ChatEndpointSettings
from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode, JudgeSettingsError
from tests.support.judge_server import Answer, JudgeServer, always, chat, send
from tests.support.scripted_http import Exchange

Serve = Callable[[Answer], JudgeServer]
KEY = "sk-very-secret-key"
REQUEST = ChatRequest((PromptMessage("user", "Judge the private text."),), ChatParameters(0.0, 50, 3))


def failure(endpoint: ChatEndpoint, timeout_s: float = 20.0) -> JudgeError:
    with pytest.raises(JudgeError) as error:
        endpoint.complete(REQUEST, timeout_s)
    shown = "".join(traceback.format_exception(error.value)) + repr(error.value) + repr(endpoint)
    assert KEY not in shown
    assert "private text" not in shown.replace("Judge the private text.", "")
    assert "server text" not in shown
    return error.value


def test_requests_and_answers(serve: Serve) -> None:
    server = serve(lambda handler, body, n: send(handler, chat("Yes.", logprobs=[-0.5, -1.5])))
    request = ChatRequest(REQUEST.messages, REQUEST.parameters, {"type": "object"}, logprobs=True)
    completion = server.endpoint(KEY).complete(request)
    assert (completion.text, completion.finish_reason) == ("Yes.", "stop")
    assert (completion.input_tokens, completion.output_tokens, completion.mean_logprob) == (11, 7, -1.0)
    assert 0.0 < completion.latency_ms < 60_000.0
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert server.bodies[0] == {
        "model": "judge-1",
        "messages": [{"role": "user", "content": "Judge the private text."}],
        "temperature": 0.0,
        "max_tokens": 50,
        "seed": 3,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "result", "strict": True, "schema": {"type": "object"}},
        },
        "logprobs": True,
    }
    # Members that a server leaves out, and others that are sent.
    server = serve(lambda handler, body, n: send(handler, b'{"choices": [{"message": {"content": null}}]}'))
    completion = server.endpoint(token_limit_member="max_completion_tokens").complete(REQUEST)
    assert (completion.text, completion.input_tokens, completion.mean_logprob) == ("", None, None)
    assert {"response_format", "logprobs", "max_tokens"}.isdisjoint(server.bodies[0])
    assert server.bodies[0]["max_completion_tokens"] == 50
    assert "Authorization" not in server.headers[0]
    echo = serve(lambda handler, body, n: send(handler, chat(f"The key is {handler.headers['Authorization']}.")))
    assert echo.endpoint(KEY).complete(REQUEST).text == "The key is Bearer [key]."


def test_connections_are_reused_or_replaced(serve: Serve) -> None:
    server = serve(always("Yes."))
    endpoint = server.endpoint()
    for _ in range(5):
        endpoint.complete(REQUEST)
    assert len(server.peers) == 1
    endpoint.close()
    endpoint.complete(REQUEST)
    assert len(server.peers) == 2

    def answer(handler: Exchange, body: Any, n: int) -> None:
        send(handler, chat(str(n)))
        # It announces nothing, so that the client keeps the connection.
        handler.close_connection = True

    endpoint = serve(answer).endpoint()
    assert [endpoint.complete(REQUEST).text for _ in range(3)] == ["0", "1", "2"]


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    error = failure(ChatEndpoint(ChatEndpointSettings(url, "m", "KEY"), {"KEY": KEY}))
    assert error.code is JudgeErrorCode.UNREACHABLE
    assert "refused" in str(error)


def test_slow_answers(serve: Serve) -> None:
    server: list[JudgeServer] = []

    def wait(handler: Exchange, body: Any, n: int) -> None:
        server[-1].stopping.wait(60)

    def drip(handler: Exchange, body: Any, n: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not server[-1].stopping.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    server.append(serve(wait))
    assert failure(server[-1].endpoint(KEY), 0.2).code is JudgeErrorCode.TIMEOUT
    assert failure(server[-1].endpoint(KEY, timeout_s=0.2)).code is JudgeErrorCode.TIMEOUT
    server.append(serve(drip))
    assert failure(server[-1].endpoint(KEY), 0.3).code is JudgeErrorCode.TIMEOUT


STATUSES = {
    JudgeErrorCode.REFUSED: (302, 400, 401, 404, 422),
    JudgeErrorCode.ERROR: (408, 500, 502),
    JudgeErrorCode.OVERLOADED: (429, 503),
}


def test_statuses(serve: Serve) -> None:
    secret = f"server text {KEY}".encode()
    for code, status in ((code, status) for code, statuses in STATUSES.items() for status in statuses):
        server = serve(lambda handler, body, n: send(handler, secret, status, Location="http://127.0.0.1:9/"))  # noqa: B023
        error = failure(server.endpoint(KEY))
        assert (error.code, error.status) == (code, status)
        assert str(status) in str(error)
        assert error.is_transient == (code is not JudgeErrorCode.REFUSED), status
        assert error.is_of_endpoint == (status not in (302, 400, 422)), status


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("7", 7.0, 7.0),
        ("Fri, 31 Dec 2999 23:59:59 GMT", 3600.0, 3600.0),
        ("99999999999999999999", 0.0, 0.0),
        ("-5", 0.0, 0.0),
    ],
)
def test_retry_after(serve: Serve, value: str, low: float, high: float) -> None:
    server = serve(lambda handler, body, n: send(handler, b"", 429, Retry_After=value))
    assert low <= failure(server.endpoint(KEY)).retry_after_s <= high


def drop_at_once(handler: Exchange, body: Any, n: int) -> None:
    handler.close_connection = True


def drop_in_the_head(handler: Exchange, body: Any, n: int) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-")
    handler.close_connection = True


def drop_in_the_body(handler: Exchange, body: Any, n: int) -> None:
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choices": []}')
    handler.close_connection = True


@pytest.mark.parametrize("answer", [drop_at_once, drop_in_the_body])
def test_dropped_connections(serve: Serve, answer: Answer) -> None:
    server = serve(answer)
    assert failure(server.endpoint(KEY)).code is JudgeErrorCode.UNREACHABLE
    assert len(server.bodies) == 1, "a new connection is not tried twice"


def no_http(handler: Exchange, body: Any, n: int) -> None:
    handler.wfile.write(b"220 server text ready\r\n\r\n")
    handler.close_connection = True


def test_answers_that_are_no_chat(serve: Serve) -> None:
    contents = (
        b"",
        b"<html>server text</html>",
        b"[]",
        b'{"error": "server text"}',
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"content": "server text", "x": \xff}}]}',
        b"[" * 100_000,
        b'{"choices": [{"message": ' + b'{"a": ' * 100_000,
    )
    endpoint = serve(lambda handler, body, n: send(handler, contents[n])).endpoint(KEY)
    for content in contents:
        assert failure(endpoint).code is JudgeErrorCode.ERROR, content[:80]
    assert failure(serve(no_http).endpoint(KEY)).code is JudgeErrorCode.ERROR
    assert failure(serve(drop_in_the_head).endpoint(KEY)).code in (JudgeErrorCode.ERROR, JudgeErrorCode.UNREACHABLE)
    bomb = gzip.compress(b" " * 10_000_000)
    server = serve(lambda handler, body, n: send(handler, bomb, Content_Encoding="gzip"))
    assert failure(server.endpoint(KEY)).code is JudgeErrorCode.ERROR


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_hundred_megabytes(serve: Serve, is_announced: bool) -> None:
    sent = [0]

    def answer(handler: Exchange, body: Any, n: int) -> None:
        handler.send_response(200)
        if is_announced:
            handler.send_header("Content-Length", str(100 << 20))
        else:
            handler.send_header("Connection", "close")
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b" " * (1 << 20))
            sent[0] += 1

    error = failure(serve(answer).endpoint(KEY))
    assert error.code is JudgeErrorCode.ERROR
    assert "1,048,576 bytes" in str(error)
    assert sent[0] < 50, "the client closed the connection long before the end"


@pytest.mark.parametrize(
    "url",
    [
        "", "127.0.0.1:80/v1", "ftp://host/v1", "http://", "http://user:pa55@host/v1", "http://host/v1?key=pa55",
        "http://host:pa55/v1", "http://ho st/v1", "http://[pa55/v1", "http://host/v1\r\nX: pa55",
    ],
)  # fmt: skip
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(JudgeSettingsError) as error:
        ChatEndpoint(ChatEndpointSettings(url, "m"))
    assert "pa55" not in str(error.value)


def test_keys_that_cannot_be_sent() -> None:
    for key in ("", " ", "a b", "a\nb", "ключ"):
        with pytest.raises(JudgeSettingsError, match=r"^JUDGE_KEY ") as error:
            ChatEndpoint(ChatEndpointSettings("http://host/v1", "m", "JUDGE_KEY"), {"JUDGE_KEY": key})
        assert not key.strip() or key not in str(error.value)
