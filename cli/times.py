"""Times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from barograph.contract import parse_duration

from cli.errors import CommandError


def parse_moment(option: str, text: str) -> datetime:
    """Read a date, or a date and time, as people write it; without an offset it is UTC.

    Raises:
        CommandError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f"{option} {text} is no time: write a date such as 2026-03-01, or date and time such as "
            "2026-03-01T12:00:00Z (UTC where no offset is given)."
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_range(begin: str, end: str) -> tuple[datetime, datetime]:
    """Read --from and --to.

    Raises:
        CommandError: one is no time, or they are the wrong way round.
    """
    start, stop = parse_moment("--from", begin), parse_moment("--to", end)
    if start >= stop:
        raise CommandError(f"--from {begin} is not before --to {end}; --to is the first moment after the range.")
    return start, stop


def parse_since(option: str, text: str, now: datetime) -> datetime:
    """Read how long ago something was, such as 90d or 12h, or a time as `parse_moment` reads it.

    Raises:
        CommandError: it is neither.
    """
    try:
        return now - timedelta(seconds=parse_duration(text))
    except ValueError:
        pass
    try:
        return parse_moment(option, text)
    except CommandError:
        raise CommandError(
            f"{option} {text} is neither a time such as 2026-03-01 nor a duration such as 90d or 12h."
        ) from None
