"""The probe of the local language model: only a complete answer of 200 means that it is ready."""

from __future__ import annotations

import pytest

from local.language_model import is_healthy
from tests.support.scripted_http import Answer, Exchange, ScriptedServer, cut, reply


def mail(exchange: Exchange) -> None:
    """Answer as a server of another protocol."""
    exchange.wfile.write(b"220 mail.example ESMTP\r\n")
    exchange.close_connection = True


@pytest.mark.parametrize(
    ("answer", "is_ready"), [(reply(), True), (reply(status=503), False), (mail, False), (cut, False)]
)
def test_only_an_answer_of_200_is_healthy(answer: Answer, is_ready: bool) -> None:
    with ScriptedServer(answer) as server:
        assert is_healthy(server.port) is is_ready
    assert not is_healthy(server.port), "nobody listens any more"


def test_the_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(reply()) as server, ScriptedServer(cut) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert is_healthy(server.port)
        assert not proxy.requests
