"""Why a judge returned no result."""

from enum import StrEnum


class JudgeErrorCode(StrEnum):
    """The reason, as the member `error` of an evaluation holds it."""

    TIMEOUT = "judge-timeout"
    UNREACHABLE = "judge-unreachable"
    DENIED = "judge-denied"
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
OF_ENDPOINT = _TRANSIENT | {JudgeErrorCode.DENIED, JudgeErrorCode.BREAKER}
"""Errors of the endpoint: the same request may succeed later."""


class JudgeError(Exception):
    """A call without a usable answer. The text says why and what to do, and holds nothing of the answer."""

    def __init__(self, code: JudgeErrorCode, message: str, *, retry_after_s: float = 0.0) -> None:
        """Describe the failure.

        Args:
            retry_after_s: the shortest pause before a retry that the endpoint asks for.
        """
        super().__init__(message)
        self.code, self.retry_after_s = code, retry_after_s
        self.attempts = 1
        """Requests that were sent for the call."""

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.code in _TRANSIENT

    @property
    def is_of_endpoint(self) -> bool:
        """Whether other requests to the endpoint fail too, so that the circuit breaker counts the failure."""
        return self.code in OF_ENDPOINT


class JudgeSettingsError(ValueError):
    """The settings of a judge or its endpoint cannot be used; the message says what to change."""
