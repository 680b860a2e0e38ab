"""Words of SQL that many queries share: what is chosen on a page, levels as numbers, numbers that are known."""

from __future__ import annotations

LEVELS = ("stable", "insufficient", "minor", "major")
"""From the best to the worst. That too little is known is worse than good news: several windows in one step of a panel
are as bad as the worst of them, and one that could not be judged never looks healthy beside one that could."""

LEVEL_NUMBERS = {level: number for number, level in enumerate(LEVELS, 1)}
"""Level → the number that stands for it in panels; 0 is that there is no verdict."""

_WORDS = "['" + "', '".join(LEVELS) + "']"


def level_number(level: str = "level") -> str:
    """The number of a level, for panels that draw levels over time: see `LEVEL_NUMBERS`."""
    return f"transform({level}, {_WORDS}, {list(LEVEL_NUMBERS.values())}, 0)"


def level_word(number: str) -> str:
    """The level that a number stands for; `no verdict` for 0."""
    return f"transform({number}, {list(LEVEL_NUMBERS.values())}, {_WORDS}, 'no verdict')"


def chosen(variable: str, column: str = "") -> str:
    """The condition that a column holds what is chosen on the page.

    Names may hold quotes, backslashes, `$` and braces, and Grafana's `singlequote` leaves backslashes as they are.
    Percent encoded they are letters, digits and `%`, which nothing on the way to ClickHouse changes or runs.
    """
    return f"{column or variable} = decodeURLComponent('${{{variable}:percentencode}}')"


def chosen_or_all(variable: str, column: str = "") -> str:
    """As `chosen`, and no condition where All is chosen."""
    return f"$__conditionalAll({chosen(variable, column)}, ${variable})"


MODEL = chosen("model")
VERSION = chosen("version")
SLICE = chosen("slice")
FIELD = chosen("field")
WINDOW = chosen("window")


def known(number: str) -> str:
    """A number, or NULL where it is NaN or infinite, which panels show as unknown."""
    return f"if(isFinite({number}), {number}, NULL)"


PER_MINUTE = "sum(pane.n) / (uniqExact(pane.pane_start) * any(pane.pane_s)) * 60"
"""Predictions per minute of the panes in a step, over the time that they cover: a step may be shorter than a pane, or
hold one more than the next."""


def window_seconds(window: str = "window") -> str:
    """The length of a window in seconds, read from its name (`15m`, `1d`): the shortest column that tells it."""
    units = "['s', 'm', 'h', 'd'], [1, 60, 3600, 86400], 0"
    return f"toUInt32OrZero(substring({window}, 1, length({window}) - 1)) * transform(right({window}, 1), {units})"
