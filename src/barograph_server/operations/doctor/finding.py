"""The result of one check of `barograph doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckStatus(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    WARNING = "warning"
    """It works, but somebody should know."""
    ERROR = "error"
    """It does not work, or results are unreliable."""
    UNKNOWN = "unknown"
    """The check was not possible or is not configured."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    component: str
    """`Kafka`, `Topics`, `Groups`, `ClickHouse`, `Contracts`, `Processors`, `Events`, `Clocks` or `Grafana`."""
    status: CheckStatus
    message: str
    """A sentence."""
    action: str = ""
    """What to do, as a sentence; empty if there is nothing to do."""


def ok(component: str, message: str) -> Finding:
    """Report that something works."""
    return Finding(component, CheckStatus.OK, message)


def warning(component: str, message: str, action: str) -> Finding:
    """Report that something works, but somebody should know."""
    return Finding(component, CheckStatus.WARNING, message, action)


def error(component: str, message: str, action: str = "") -> Finding:
    """Report that something does not work; `action` is empty if the message says it."""
    return Finding(component, CheckStatus.ERROR, message, action)


def unknown(component: str, message: str, action: str = "") -> Finding:
    """Report that a check was not possible."""
    return Finding(component, CheckStatus.UNKNOWN, message, action)
