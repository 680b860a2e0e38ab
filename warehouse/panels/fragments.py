"""SQL fragments shared by queries: selected variables, levels as numbers, and NULL for unknown numbers."""

from barograph_server.sketches.drift.rates import RATE_NOUNS
from barograph_server.warehouse.signals.verdicts import FEW_READINGS, FEW_ROWS, LIKE, UNLIKE, is_like, is_unlike

LEVELS = ("stable", "insufficient", "minor", "major")
"""Levels of verdicts from best to worst. `insufficient` is worse than `stable`: a step of a panel shows its worst
window, and a window without enough data must not look healthy."""

LEVEL_NUMBERS = {
    level: number for number, level in enumerate(("stable", LIKE, "insufficient", UNLIKE, "minor", "major"), 1)
}
"""The number of each level in panels; 0 means no verdict."""

STATES = ("healthy", "no record", "unknown", "degraded")
"""States from best to worst. `no record`: the guard did not write; serving then sees `unknown`."""

STATE_NUMBERS = {state: number for number, state in enumerate(STATES, 1)}

OUTCOMES = ("promote", "insufficient", "hold", "keep", "roll back")
"""Decisions about a candidate, from best to worst, then those about a new primary."""
OUTCOME_NUMBERS = {outcome: number for number, outcome in enumerate(OUTCOMES, 1)}
"""The number of each decision in panels."""
ARC = "arc__"
"""Prefix of the columns from which a node graph draws the ring of a node: shares of the ring, one column per colour."""

_LEVEL_NAMES = "['" + "', '".join(LEVEL_NUMBERS) + "']"


def level_number(level: str = "level") -> str:
    """Return the expression for a level's number (`LEVEL_NUMBERS`), for panels that draw levels over time."""
    return f"transform({level}, {_LEVEL_NAMES}, {list(LEVEL_NUMBERS.values())}, 0)"


def level_name(number: str) -> str:
    """Return the expression for the level of a number; `no verdict` for 0."""
    return f"transform({number}, {list(LEVEL_NUMBERS.values())}, {_LEVEL_NAMES}, 'no verdict')"


def rate_measure(kind: str = "kind", field: str = "field") -> str:
    """Return the expression for a rate of a field in texts, such as `nulls of age`."""
    nouns = RATE_NOUNS | {"error": "errors"}
    return f"concat(transform(toString({kind}), {list(nouns)}, {list(nouns.values())}, ''), ' of ', {field})"


def selected(variable: str) -> str:
    """Return the expression for the selected value of a variable.

    Names may contain quotes, backslashes, `$` and braces, and Grafana's `singlequote` does not escape backslashes.
    Percent encoding leaves only letters, digits and `%`, which nothing on the way to ClickHouse interprets.
    """
    return f"decodeURLComponent('${{{variable}:percentencode}}')"


def is_selected(variable: str, column: str = "") -> str:
    """Return the condition that a column equals the selected value of a variable."""
    return f"{column or variable} = {selected(variable)}"


def is_selected_or_all(variable: str, column: str = "") -> str:
    """Return the condition of `is_selected`, or no condition if All is selected."""
    return f"$__conditionalAll({is_selected(variable, column)}, ${variable})"


MODEL = is_selected("model")
VERSION = is_selected("version")
SLICE = is_selected("slice")
FIELD = is_selected("field")
WINDOW = is_selected("window")


def in_range_or_last(table: str, time: str, condition: str) -> str:
    """Return the condition that a time is in the range or, if the range has no row, in the last week before it.

    The variables of a page keep their options after days without predictions, and its panels can say so.
    """
    last = f"(SELECT max({time}) FROM {table} WHERE {condition} AND {time} <= $__toTime)"
    return f"{time} <= $__toTime AND {time} >= if({last} >= $__fromTime, $__fromTime, {last} - INTERVAL 7 DAY)"


def finite(number: str) -> str:
    """Return the expression for a number, or NULL if it is NaN or infinite; panels show NULL as unknown."""
    return f"if(isFinite({number}), {number}, NULL)"


def interval(low: str, high: str) -> str:
    """Return the expression for the ends of an interval as text; empty if an end is unknown.

    Ends below 1 have four significant digits, others two decimals.
    """
    texts = [
        f"multiIf(isInfinite({end}), if({end} < 0, '-∞', '∞'), "
        f"abs({end}) < 1, toString(toFloat64(printf('%.4g', {end}))), toString(round({end}, 2)))"
        for end in (low, high)
    ]
    return f"if(isNaN({low}) OR isNaN({high}), '', concat({texts[0]}, ' – ', {texts[1]}))"


def drift_level(verdict: str = "") -> str:
    """Return the expression for the level that panels show of a verdict on drift: its own, `LIKE`, or `UNLIKE`."""
    of = f"{verdict}." if verdict else ""
    return (
        f"multiIf({of}level != 'insufficient' OR {of}reason NOT IN {FEW_READINGS}, {of}level, "
        f"{is_unlike(of)}, '{UNLIKE}', {is_like(of)}, '{LIKE}', {of}level)"
    )


def drift_reason(verdict: str = "") -> str:
    """Return the expression for why a verdict on drift is insufficient, and what its window does tell; else empty."""
    of = f"{verdict}." if verdict else ""
    readings, needed = f"{of}readings", f"{of}readings_needed"
    windows = (
        f"if({of}reason = '{FEW_ROWS}', '', concat(', about ', toString(ceil({needed} / {readings})), ' such windows'))"
    )
    compared = (
        f"if(isNaN({of}mean_p), '', concat('; mean rank ', printf('%.2f', {of}mean_rank), ' instead of 0.50 (p ', "
        f"printf('%.2g', {of}mean_p), ')', "
        f"multiIf({is_unlike(of)}, ': {UNLIKE}', {is_like(of)}, ': {LIKE}', '')))"
    )
    counted = f"': ', toString(round({readings})), ' of ', toString(ceil({needed})), ' independent readings', {windows}"
    few = f"if({readings} < {needed}, concat({counted}), '')"
    return f"if({of}reason IN {FEW_READINGS} AND {readings} >= 1, concat({of}reason, {few}, {compared}), {of}reason)"


PER_MINUTE = "sum(pane.n) / (uniqExact(pane.pane_start) * any(pane.pane_s)) * 60"
"""Predictions per minute over the time covered by the panes of a step: a step can be shorter than a pane, or contain
one pane more than the next step."""


_LONGEST_S = 2**32 - 1


def window_seconds(window: str = "window") -> str:
    """Return the expression for a window's length in seconds, from its name (`15m`, `1d`).

    A window of the last events (`last 2000`) counts as the longest.
    """
    units = "['s', 'm', 'h', 'd'], [1, 60, 3600, 86400], 0"
    seconds = f"toUInt32OrZero(substring({window}, 1, length({window}) - 1)) * transform(right({window}, 1), {units})"
    return f"if(startsWith({window}, 'last '), {_LONGEST_S}, {seconds})"
