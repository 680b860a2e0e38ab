"""Why a judge returned no result."""

from enum import StrEnum


class JudgeErrorCode(StrEnum):
    """The reason, as the member `error` of an evaluation holds it."""

    TIMEOUT = "judge-timeout"
    UNREACHABLE = "judge-unreachable"
    REFUSED = "judge-refused"
    OVERLOADED = "judge-overloaded"
    ERROR = "judge-error"
    BREAKER = "judge-breaker"
    PROSE = "judge-prose"
    NO_VERDICT = "judge-no-verdict"
    DISAGREEMENT = "judge-disagreement"
    CUT = "judge-cut"
    MISSING_INPUT = "judge-missing-input"
    TOO_LONG = "judge-too-long"


_TRANSIENT = frozenset(
    {JudgeErrorCode.TIMEOUT, JudgeErrorCode.UNREACHABLE, JudgeErrorCode.OVERLOADED, JudgeErrorCode.ERROR}
)
_OF_ALL_CALLS = frozenset({401, 403, 404})
"""Statuses of a wrong key, model or path, which every call to the endpoint gets."""


class JudgeError(Exception):
    """A call without a usable answer. The text says why and what to do, and holds nothing of the answer."""

    def __init__(
        self, code: JudgeErrorCode, message: str, *, status: int | None = None, retry_after_s: float = 0.0
    ) -> None:
        """Describe the failure.

        Args:
            status: the status of HTTP, if the endpoint answered with one that is not 200.
            retry_after_s: the shortest pause before a retry that the endpoint asks for.
        """
        super().__init__(message)
        self.code, self.status, self.retry_after_s = code, status, retry_after_s
        self.attempts = 1
        """Requests that were sent for the call."""

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.code in _TRANSIENT

    @property
    def is_of_endpoint(self) -> bool:
        """Whether other requests to the endpoint fail too, so that the circuit breaker counts the failure."""
        return self.is_transient or self.status in _OF_ALL_CALLS


class JudgeSettingsError(ValueError):
    """The settings of a judge or its endpoint cannot be used; the message says what to change."""
