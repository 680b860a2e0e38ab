"""Why a scrape failed."""

from __future__ import annotations

from enum import StrEnum


class ScrapeOutcome(StrEnum):
    """What became of a scrape."""

    READ = "read"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    BAD_STATUS = "bad-status"
    REDIRECTED = "redirected"
    TOO_LARGE = "too-large"
    UNREADABLE = "unreadable"
    UNKNOWN_SERVER = "unknown-server"


class ScrapeError(Exception):
    """A scrape that returned no facts; the text says why and what to do, and holds nothing of the answer."""

    def __init__(self, outcome: ScrapeOutcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome
