"""The four levels of a verdict."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """Verdict on one field in one window; the numbers are those of arrays of verdicts.

    `insufficient` is not a fourth degree of drift: it means that the window has too few independent events for a
    verdict, and is never shown as healthy. So levels are compared by name, never by size.
    """

    stable = 0
    minor = 1
    major = 2
    insufficient = 3


LEVEL_NAMES: tuple[str, ...] = tuple(level.name for level in Level)
"""Names by number, to convert an array of levels to strings: `np.array(LEVEL_NAMES)[levels]`."""
