"""Any endpoint with the chat API of OpenAI."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from barograph_server.streams.evaluator.judges.chat import ChatRequest, Completion
from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode, JudgeSettingsError
from barograph_server.streams.runtime.http_exchange import HttpClient, HttpError, HttpFailure

_CODES = {
    HttpFailure.TIMEOUT: JudgeErrorCode.TIMEOUT,
    HttpFailure.TLS: JudgeErrorCode.UNREACHABLE,
    HttpFailure.UNREACHABLE: JudgeErrorCode.UNREACHABLE,
    HttpFailure.CLOSED: JudgeErrorCode.UNREACHABLE,
}
_HINTS = {
    400: "Check the length of the texts, and that the server supports `json_schema`",
    401: "Check the key",
    402: "Check the account",
    403: "Check the key",
    404: "Check the path and the name of the model",
}
_DENIALS = (401, 402, 403, 404)
"""Statuses of a wrong key, model or path, or an account without credit, which every call to the endpoint gets."""


@dataclass(frozen=True, slots=True)
class ChatEndpointSettings:
    """Where a model is, and the limits of a request."""

    url: str
    """Base URL, such as `http://127.0.0.1:8080/v1`; `/chat/completions` is added."""
    model: str
    key_variable: str = ""
    """Name of the environment variable with the key; empty for no key."""
    timeout_s: float = 60.0
    """Longest request."""
    max_answer_bytes: int = 1 << 20
    token_limit_member: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"  # noqa: S105
    """Member of the request for the most tokens; some models of OpenAI accept only the second."""


class ChatEndpoint:
    """Sends requests. Several threads may share it."""

    def __init__(self, settings: ChatEndpointSettings, environ: Mapping[str, str] = os.environ) -> None:
        """Read the key; nothing is sent.

        Raises:
            JudgeSettingsError: the URL cannot be used, or the variable of the key is not set or holds no key.
        """
        self._settings = settings
        self._headers = {"Accept": "application/json", "Content-Type": "application/json"}
        self._key = _read_key(settings.key_variable, environ)
        if self._key:
            self._headers["Authorization"] = f"Bearer {self._key}"
        self._url = _checked_url(settings.url)
        self._client = HttpClient(settings.max_answer_bytes)

    @property
    def model(self) -> str:
        return self._settings.model

    @property
    def timeout_s(self) -> float:
        """Longest request."""
        return self._settings.timeout_s

    def complete(self, request: ChatRequest, timeout_s: float | None = None) -> Completion:
        """Send a request once.

        Args:
            timeout_s: seconds for the answer, if that is less than the limit of the settings.

        Raises:
            JudgeError: there is no answer of a model.
        """
        body = json.dumps(self._body(request)).encode()
        limit_s = self.timeout_s if timeout_s is None else min(timeout_s, self.timeout_s)
        began_s = time.monotonic()
        content = self._post(body, limit_s)
        return self._completion(content, 1000.0 * (time.monotonic() - began_s))

    def close(self) -> None:
        """Close the connections that are kept for later requests."""
        self._client.close()

    def _post(self, body: bytes, timeout_s: float) -> bytes:
        """Return the body of the answer with status 200."""
        try:
            answer = self._client.exchange("POST", self._url, timeout_s, self._headers, body)
        except HttpError as error:
            raise JudgeError(_CODES.get(error.kind, JudgeErrorCode.ERROR), str(error)) from None
        status, what = answer.status, f"The endpoint answers with status {answer.title}"
        if status == 200:
            return answer.body
        if status in (429, 503):
            wait_s = answer.retry_after_s
            raise JudgeError(JudgeErrorCode.OVERLOADED, f"{what}.", retry_after_s=wait_s)
        if status >= 500 or status == 408:
            raise JudgeError(JudgeErrorCode.ERROR, f"{what}.")
        hint = "Write the final URL" if 300 <= status < 400 else _HINTS.get(status, "Check the settings")
        raise JudgeError(JudgeErrorCode.DENIED if status in _DENIALS else JudgeErrorCode.REFUSED, f"{what}. {hint}.")

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": each.role, "content": each.content} for each in request.messages],
            "temperature": request.parameters.temperature,
            self._settings.token_limit_member: request.parameters.max_tokens,
            "seed": request.parameters.seed,
        }
        if request.schema is not None:
            schema = {"name": "result", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.logprobs:
            body["logprobs"] = True
        return body

    def _completion(self, content: bytes, latency_ms: float) -> Completion:
        try:
            answer = msgspec.json.decode(content, type=_ChatAnswer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # The error's text may quote the answer.
            answer = _ChatAnswer()
        if not answer.choices:
            raise JudgeError(
                JudgeErrorCode.ERROR, "The endpoint does not answer with the form of a chat. Check the URL."
            )
        choice = answer.choices[0]
        tokens = (choice.logprobs.content or []) if choice.logprobs else []
        text = choice.message.content or ""
        if self._key:
            text = text.replace(self._key, "[key]")
        return Completion(
            text.encode("utf-8", "replace").decode(),
            choice.finish_reason or "",
            answer.usage.prompt_tokens if answer.usage else None,
            answer.usage.completion_tokens if answer.usage else None,
            sum(token.logprob for token in tokens) / len(tokens) if tokens else None,
            latency_ms,
        )


def _checked_url(url: str) -> str:
    """Check the base URL of an API, and add the path of its method."""
    advice = "Write http://HOST:PORT/v1, and name the variable of a key in `key_variable`."
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise JudgeSettingsError(f"The URL of the endpoint is not valid. {advice}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise JudgeSettingsError(f"The URL of the endpoint has no address of http or https. {advice}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise JudgeSettingsError(f"The URL of the endpoint holds a user, a query or a fragment. {advice}")
    if not all("!" <= character <= "~" for character in parts.path + parts.hostname):
        raise JudgeSettingsError(f"The URL of the endpoint has characters that no address has. {advice}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/chat/completions"


def _read_key(variable: str, environ: Mapping[str, str]) -> str:
    if not variable:
        return ""
    key = environ.get(variable, "").strip()
    if not key:
        raise JudgeSettingsError(f"{variable} is not set; export the key of the endpoint.")
    if not all("!" <= character <= "~" for character in key):
        raise JudgeSettingsError(f"{variable} has characters that no key has; copy it again, without spaces.")
    return key


class _ChatUsage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _ChatText(msgspec.Struct):
    content: str | None = None


class _TokenLogprob(msgspec.Struct):
    logprob: float


class _AnswerLogprobs(msgspec.Struct):
    content: list[_TokenLogprob] | None = None


class _ChatChoice(msgspec.Struct):
    message: _ChatText
    finish_reason: str | None = None
    logprobs: _AnswerLogprobs | None = None


class _ChatAnswer(msgspec.Struct):
    choices: list[_ChatChoice] = []
    usage: _ChatUsage | None = None
