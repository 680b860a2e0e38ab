"""The four levels of a verdict."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """What one window says about one field; the numbers are those of the arrays that hold verdicts.

    `insufficient` is no fourth degree of drift: it says that the window holds too few independent events to
    tell, and is never shown as healthy. So levels are compared by name, never by size.
    """

    stable = 0
    minor = 1
    major = 2
    insufficient = 3


LEVEL_NAMES: tuple[str, ...] = tuple(level.name for level in Level)
"""Names by number, for turning an array of levels into strings: `np.array(LEVEL_NAMES)[levels]`."""
