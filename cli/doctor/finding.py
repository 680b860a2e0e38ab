"""One thing that was looked at: how it is, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How something is."""

    OK = "ok"
    LOOK = "look"
    """It works, and somebody should know."""
    WRONG = "wrong"
    """It does not work, or results cannot be relied on."""
    UNKNOWN = "unknown"
    """It could not be looked at, or is not asked for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found."""

    part: str
    """`Kafka`, `Topics`, `Groups`, `ClickHouse`, `Contracts`, `Processors`, `Clocks` or `Grafana`."""
    state: State
    what: str
    """A sentence."""
    todo: str = ""
    """A sentence; empty where there is nothing to do."""


def ok(part: str, what: str) -> Finding:
    """It is as it should be."""
    return Finding(part, State.OK, what)


def look(part: str, what: str, todo: str) -> Finding:
    """It works, and somebody should know."""
    return Finding(part, State.LOOK, what, todo)


def wrong(part: str, what: str, todo: str = "") -> Finding:
    """It does not work; `todo` is empty where the sentence says it."""
    return Finding(part, State.WRONG, what, todo)


def unknown(part: str, what: str, todo: str = "") -> Finding:
    """It could not be looked at."""
    return Finding(part, State.UNKNOWN, what, todo)
