"""Parses times and ages on the command line."""

from datetime import UTC, datetime, timedelta

from barograph.contract import parse_duration

from barograph_server.errors import CommandError


def parse_moment(option: str, text: str) -> datetime:
    """Parse a date, or a date and time. Without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f"{option} {text} is not a time: write a date such as 2026-03-01, or a date and time such as "
            "2026-03-01T12:00:00Z (UTC without an offset)."
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_range(begin: str, end: str) -> tuple[datetime, datetime]:
    start, stop = parse_moment("--from", begin), parse_moment("--to", end)
    if start >= stop:
        raise CommandError(f"--from {begin} is not before --to {end}; --to is exclusive.")
    return start, stop


def parse_since(option: str, text: str, now: datetime) -> datetime:
    """Parse an age, such as 90d or 12h, or a time as `parse_moment` does."""
    try:
        return now - timedelta(seconds=parse_duration(text))
    except ValueError:
        pass
    try:
        return parse_moment(option, text)
    except CommandError:
        raise CommandError(
            f"{option} {text} is neither a time such as 2026-03-01 nor an age such as 90d or 12h."
        ) from None


def parse_effective(text: str | None) -> int | None:
    """Parse `--effective` with `parse_exact_time`; None if it is not set."""
    return None if text is None else parse_exact_time("--effective", text)


def parse_exact_time(option: str, text: str) -> int:
    """Parse a time with an offset to Unix seconds."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.microsecond:
        raise CommandError(
            f"{option} {text} is not a time: write date, time in whole seconds and offset, such as "
            "2026-03-01T00:00:00Z."
        )
    return int(moment.timestamp())
