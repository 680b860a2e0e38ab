"""A request to a chat model and its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from barograph.prompts.content import PromptMessage

Messages = tuple[PromptMessage, ...]


@dataclass(frozen=True, slots=True)
class ChatParameters:
    """How the model samples."""

    temperature: float = 0.0
    max_tokens: int = 300
    """Most tokens of the answer."""
    seed: int = 1


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request."""

    messages: Messages
    parameters: ChatParameters = field(default_factory=ChatParameters)
    schema: Mapping[str, Any] | None = None
    """JSON Schema that the answer satisfies; None for free text."""
    logprobs: bool = False
    """Whether the server reports the log-probability of each token. Some servers refuse the request then."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer of a model."""

    text: str
    finish_reason: str
    """Why the model stopped, such as `stop` or `length`; empty if the server does not say."""
    input_tokens: int | None
    output_tokens: int | None
    mean_logprob: float | None
    """Mean log-probability of the answer's tokens; None if the server does not report it."""
    latency_ms: float
    """Time of the successful attempt."""
    attempts: int = 1


class ChatModel(Protocol):
    """Answers requests: an endpoint, or an endpoint with retries."""

    @property
    def model(self) -> str:
        """Name of the model."""

    def complete(self, request: ChatRequest, limit_s: float | None = None, /) -> Completion:
        """Return the answer.

        Args:
            limit_s: seconds for it, if that is less than the model's own limit.

        Raises:
            JudgeError: there is none.
        """
