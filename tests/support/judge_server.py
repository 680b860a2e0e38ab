"""A real HTTP server with the chat API, whose answers a test chooses."""

import json
from collections.abc import Callable
from email.message import Message
from typing import Any

from barograph_server.streams.evaluator.judges.endpoint import ChatEndpoint, ChatEndpointSettings
from tests.support.scripted_http import Exchange, ScriptedServer

Answer = Callable[[Exchange, dict[str, Any], int], None]
"""Answers a request with this content; the number counts requests from 0."""


class JudgeServer(ScriptedServer):
    def __init__(self, answer: Answer) -> None:
        self._endpoints: list[ChatEndpoint] = []
        super().__init__(lambda exchange: answer(exchange, json.loads(exchange.body), exchange.request_number))

    @property
    def url(self) -> str:
        return f"{super().url}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [request.json() for request in self.requests]

    @property
    def headers(self) -> list[Message]:
        return [request.headers for request in self.requests]

    @property
    def peers(self) -> set[tuple[str, int]]:
        return {request.peer for request in self.requests}

    def endpoint(self, key: str = "", **settings: Any) -> ChatEndpoint:
        variable = "JUDGE_KEY" if key else ""
        endpoint = ChatEndpoint(ChatEndpointSettings(self.url, "judge-1", variable, **settings), {variable: key})
        self._endpoints.append(endpoint)
        return endpoint

    def stop(self) -> None:
        for endpoint in self._endpoints:
            endpoint.close()
        super().stop()


def send(exchange: Exchange, body: bytes, status: int = 200, **headers: str) -> None:
    exchange.send(body, status, **headers)


def chat(content: str | None, logprobs: list[float] | None = None, **choice: Any) -> bytes:
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"} | choice
    if logprobs is not None:
        choice["logprobs"] = {"content": [{"token": "x", "logprob": value} for value in logprobs]}
    usage = {"prompt_tokens": 11, "completion_tokens": 7}
    return json.dumps({"model": "judge-1", "choices": [choice], "usage": usage}).encode()


def always(content: str) -> Answer:
    return lambda handler, body, number: send(handler, chat(content))


def in_turn(*contents: str) -> Answer:
    return lambda handler, body, number: send(handler, chat(contents[number % len(contents)]))
