"""Endpoints that are down, slow, large or hostile: one code for each, and no secret in a message."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest
from barograph.prompts.content import PromptMessage

from barograph_server.streams.evaluator.judges.chat import ChatParameters, ChatRequest
from barograph_server.streams.evaluator.judges.endpoint import ChatEndpoint, ChatEndpointSettings
from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode, JudgeSettingsError
from tests.support.judge_server import Answer, JudgeServer, always, chat, send
from tests.support.scripted_http import cut, hang

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


def test_exchanges_that_fail(serve: Serve) -> None:
    large = serve(lambda handler, body, n: handler.drip(b" " * (1 << 20)))
    error = failure(large.endpoint(KEY))
    assert error.code is JudgeErrorCode.ERROR
    assert "1,048,576 bytes" in str(error)
    cutting = serve(lambda handler, body, n: cut(handler))
    assert failure(cutting.endpoint(KEY)).code is JudgeErrorCode.UNREACHABLE
    silent = serve(lambda handler, body, n: hang(handler))
    assert failure(silent.endpoint(KEY), 0.2).code is JudgeErrorCode.TIMEOUT
    assert failure(silent.endpoint(KEY, timeout_s=0.2)).code is JudgeErrorCode.TIMEOUT
    closed = serve(always("Yes."))
    closed.stop()
    error = failure(closed.endpoint(KEY))
    assert error.code is JudgeErrorCode.UNREACHABLE
    assert "refused" in str(error)


STATUSES = {
    JudgeErrorCode.REFUSED: (302, 400, 401, 404, 422),
    JudgeErrorCode.ERROR: (408, 500, 502),
    JudgeErrorCode.OVERLOADED: (429, 503),
}


def test_statuses(serve: Serve) -> None:
    secret = f"server text {KEY}".encode()
    for code, status in ((code, status) for code, statuses in STATUSES.items() for status in statuses):
        server = serve(lambda handler, body, n: send(handler, secret, status, Retry_After="7"))  # noqa: B023
        error = failure(server.endpoint(KEY))
        assert error.retry_after_s == (7.0 if code is JudgeErrorCode.OVERLOADED else 0.0)
        assert (error.code, error.status) == (code, status)
        assert str(status) in str(error)
        assert error.is_transient == (code is not JudgeErrorCode.REFUSED), status
        assert error.is_of_endpoint == (status not in (302, 400, 422)), status


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
