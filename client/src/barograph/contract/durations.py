"""Durations as people write them: `90s`, `15m`, `1h`, `7d`."""

from __future__ import annotations

SECONDS_PER_HOUR = 3600
SECONDS_PER_DAY = 24 * SECONDS_PER_HOUR

_UNITS = (("d", SECONDS_PER_DAY), ("h", SECONDS_PER_HOUR), ("m", 60), ("s", 1))


def format_duration(seconds: int) -> str:
    """Write seconds in the largest unit that gives a whole number: 900 → `15m`, 86400 → `1d`, 90 → `90s`."""
    for unit, size in _UNITS:
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    raise AssertionError(seconds)


def parse_duration(text: str) -> int:
    """Convert `15m`, `1h`, `2d` or `90s` to seconds.

    Raises:
        ValueError: The text is not a whole number followed by s, m, h or d.
    """
    sizes = dict(_UNITS)
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in sizes or int(number) == 0:
        raise ValueError(f"{text!r} is not a duration: write a whole number and a unit, such as 90s, 15m, 1h or 7d")
    return int(number) * sizes[unit]
