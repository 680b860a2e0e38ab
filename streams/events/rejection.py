"""Rejection of JSON events, with the reason code of their dead letter."""

from __future__ import annotations

from typing import Any

from barograph.events import Reason

from barograph_server.streams.events.event_time import parse_time_ms


class Rejection(Exception):
    """An event is rejected, with the reason code and a detail."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail
        self.model = ""
        """The event's model, if it is known and has a contract."""
        self.producer: str | None = None
        self.seq = -1


def required_text(raw: dict[str, Any], name: str, missing: Reason) -> str:
    """Return a required text member of a parsed event.

    Raises:
        Rejection: the member is missing or empty (reason `missing`), or not a string.
    """
    value = raw.get(name)
    if value is None or value == "":
        raise Rejection(missing)
    if not isinstance(value, str):
        raise Rejection(Reason.WRONG_TYPE, f"{name} must be a string, not {type(value).__name__}")
    return replace_surrogates(value)


def required_time_ms(raw: dict[str, Any]) -> int:
    """Return the event time of a parsed event, in Unix milliseconds.

    Raises:
        Rejection: the member `at` is missing or cannot be parsed.
    """
    if raw.get("at") is None:
        raise Rejection(Reason.MISSING_TIME)
    at_ms = parse_time_ms(raw["at"])
    if at_ms is None:
        raise Rejection(Reason.BAD_TIME, f"at = {str(raw['at'])[:60]!r}")
    return at_ms


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
