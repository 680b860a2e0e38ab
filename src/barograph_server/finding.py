"""The result of a check: what it is about, how bad it is, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class FindingLevel(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """It works, but somebody should know."""
    ERROR = "error"
    """It does not work, or results are unreliable."""
    UNKNOWN = "unknown"
    """The check was not possible or is not configured."""


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    """What was checked: a component such as `Kafka`, or the name of a field, version or arm."""
    level: FindingLevel
    message: str
    """A sentence."""
    action: str = ""
    """What to do, as a sentence; empty if there is nothing to do."""


def ok(subject: str, message: str) -> Finding:
    return Finding(subject, FindingLevel.OK, message)


def warning(subject: str, message: str, action: str) -> Finding:
    return Finding(subject, FindingLevel.WARNING, message, action)


def error(subject: str, message: str, action: str = "") -> Finding:
    """Report that something does not work; `action` is empty if the message says it."""
    return Finding(subject, FindingLevel.ERROR, message, action)


def unknown(subject: str, message: str, action: str = "") -> Finding:
    return Finding(subject, FindingLevel.UNKNOWN, message, action)
