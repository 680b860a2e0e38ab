"""A signal: one number per instance that holds from a moment on, from the same SQL at one moment and over a history.

A signal is made of *facts*: one SELECT whose rows each say something of one key (a field, a metric) and version about
event time up to a moment. What holds at a moment is the newest fact of each. `point_sql` asks for one moment, which is
what an alert rule does; `series_sql` asks for every moment at which the answer may change, which is what panels,
simulator and backtest do. Both are the same text but for the moments that stand in `ticks`.

A fact has one of four states, and with them a verdict that knows too little neither fires an alert nor clears one:

| state | what it says | number |
|---|---|---|
| `EMPTY` | nothing came, or nothing is known | the line itself |
| `RENEWED` | too little data on a baseline that is younger than the window | 0 |
| `UNSURE` | too little data | the value, at most the line |
| `SURE` | | the value |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from warehouse.signals.literals import literal

EMPTY, RENEWED, UNSURE, SURE = range(4)

Known = Literal["now", "ended", "judged"]
"""From when a fact counts. `now`: all that is in the table counts, from the end of its window: what a rule asks for.
`ended`: as if it had been known as soon as it could be, for history that was replayed long afterwards. `judged`: when
it was written, for history that was watched while it happened; then every revision counts from its own time."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range (start, end] of event time, as SQL expressions of Unix seconds."""

    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of each key."""

    select: Callable[[Span, Known], str]
    """Makes the SELECT of the facts that end in a span. Its columns: `key`, `version`, `until` (Unix seconds),
    `ended_at` and `judged_at` (from when it counts), `rank` (of two facts that one with the greater counts) and
    `verdict`: state, value, low, high, and how much the value grows with each second after `until`."""
    stale_s: int
    """A fact that ended longer ago says nothing any more."""
    window: str = ""
    """The name of the window that it is about."""

    def rows(self, span: Span, known: Known) -> str:
        """Select from which time on which fact holds: `key`, `version`, `time`, `end`, `verdict`."""
        base = self.select(span, known)
        if known != "judged":
            time = "until" if known == "now" else "ended_at"
            return (
                f"SELECT key, version, {time} AS time, argMax(until, rank) AS end, "
                f"argMax(fact.verdict, rank) AS verdict FROM ({base}) AS fact GROUP BY key, version, time"
            )
        # A revision of an older window says nothing of now.
        newest = "max(rank) OVER (PARTITION BY key, version ORDER BY judged_at ASC RANGE UNBOUNDED PRECEDING)"
        return (
            "SELECT key, version, judged_at AS time, argMax(until, rank) AS end, argMax(fact.verdict, rank) AS verdict "
            f"FROM (SELECT *, {newest} AS newest FROM ({base})) AS fact WHERE rank = newest GROUP BY key, version, time"
        )


@dataclass(frozen=True, slots=True)
class Signal:
    """One number per key: above its line, or below it, something is wrong."""

    label: str
    """Name of the column that tells the keys apart; empty where there is one key alone."""
    keys: tuple[str, ...]
    """Every key, each of which has a row always; `('',)` where there is one alone."""
    line: float
    short: Facts
    """What decides together with `long`, or alone."""
    long: Facts | None = None
    """The window that decides; where `short` knows too little it decides alone."""
    below: bool = False
    """Whether less is worse."""
    has_versions: bool = True
    """Whether facts are of versions; else their `version` is empty, and the query is cheaper."""

    @property
    def reach_s(self) -> int:
        """How far back facts count."""
        return max(part.stale_s for part in (self.short, self.long) if part is not None)


def point_sql(signal: Signal, column: str = "value", at: str = "toUnixTimestamp($__toTime)") -> str:
    """Select the label (a String) and one number per key, as they are at one moment.

    Args:
        signal: what is asked for.
        column: `value`, `low` or `high`.
        at: the moment as Unix seconds; by default the end of Grafana's range.
    """
    span = Span(f"({at} - {signal.reach_s})", at)
    label = f"key AS {signal.label}, " if signal.label else ""
    held = _held(signal, span, "now", f"SELECT toUInt32({at}) AS at")
    return f"SELECT {label}{column}\nFROM (\n{held}\n)\nORDER BY key"


def series_sql(signal: Signal, span: Span, known: Known = "ended", every: str = "1") -> str:
    """Select every moment of a span at which something may change: `at`, `key`, `value`, `low`, `high`, `growth`.

    Args:
        signal: what is asked for.
        span: the moments asked for; facts before it are read as far as they reach into it.
        known: from when facts count.
        every: moments are rounded up to multiples of so many seconds, as an SQL expression.

    Returns:
        SQL whose rows ascend by `at`, then `key`. A row holds until the next of its key; from then on its value grows
        by `growth` each second.
    """
    wide = Span(f"({span.start} - {2 * signal.reach_s})", span.end)
    changes = " UNION ALL ".join(
        f"SELECT arrayJoin([time, end + {part.stale_s + 1}]) AS at FROM {name}" for name, part in _parts(signal).items()
    )
    ticks = (
        f"SELECT DISTINCT toUInt32(intDiv(greatest(at, {span.start}) + {every} - 1, {every}) * {every}) AS at "
        f"FROM ({changes} UNION ALL SELECT {span.start} AS at) WHERE at <= {span.end}"
    )
    held = _held(signal, wide, known, ticks)
    return f"SELECT at, key, value, low, high, growth\nFROM (\n{held}\n)\nORDER BY at, key"


def panel_sql(signal: Signal) -> str:
    """Select a signal over the range of a panel, as a time series: `time`, `metric` (the key), `value`."""
    span = Span("toUnixTimestamp($__fromTime)", "toUnixTimestamp($__toTime)")
    series = series_sql(signal, span, "now", "greatest(1, $__interval_s)")
    metric = "key AS metric, " if signal.label else ""
    return f"SELECT toDateTime(at) AS time, {metric}value FROM ({series}) ORDER BY time"


def _parts(signal: Signal) -> dict[str, Facts]:
    return {"short": signal.short} | ({"long": signal.long} if signal.long else {})


def _held(signal: Signal, span: Span, known: Known, ticks: str) -> str:
    """Select `at`, `key`, `value`, `low`, `high`, `growth` for each tick and key."""
    parts = _parts(signal)
    keys = f"[{', '.join(map(literal, signal.keys))}]"
    nothing = f"tuple(toUInt32(0), toUInt8({EMPTY}), 0., nan, nan, 0.)"
    versions = "".join(f" UNION DISTINCT SELECT key, version FROM {name}" for name in parts if signal.has_versions)
    joins = "".join(
        f"\nASOF LEFT JOIN {name} ON grid.key = {name}.key AND grid.version = {name}.version AND grid.at >= {name}.time"
        for name in parts
    )
    facts = ", ".join(
        f"if({name}.time = 0 OR at > {name}.end + {part.stale_s}, {nothing}, tuple({name}.end, {name}.verdict.1, "
        f"{name}.verdict.2 + {name}.verdict.5 * (at - {name}.end), {name}.verdict.3, {name}.verdict.4, "
        f"{name}.verdict.5))"
        for name, part in parts.items()
    )
    best = "arrayMin" if signal.below else "arrayMax"
    tables = {
        **{name: part.rows(span, known) for name, part in parts.items()},
        "grid": (
            "SELECT ticks.at AS at, known.key AS key, known.version AS version "
            f"FROM ({ticks}) AS ticks CROSS JOIN (SELECT arrayJoin({keys}) AS key, '' AS version{versions}) AS known"
        ),
        "facts": f"SELECT grid.at AS at, grid.key AS key, tuple({facts}) AS fact FROM grid{joins}",
        # Of versions those count that had traffic in the newest short window; where none had, all count.
        "counted": (
            "SELECT at, key, groupArray(fact) AS every, arrayMax(arrayMap(one -> one.1.1, every)) AS newest, "
            f"arrayFilter(one -> one.1.1 = newest AND one.1.2 != {EMPTY}, every) AS busy, "
            "if(empty(busy), every, busy) AS chosen FROM facts GROUP BY at, key"
        ),
    }
    written = ",\n".join(f"{name} AS (\n{sql}\n)" for name, sql in tables.items())
    return (
        f"WITH {written}\nSELECT at, key, {best}(arrayMap(one -> {_number(signal)}, chosen)) AS number, "
        f"number.1 AS value, number.2 AS low, number.3 AS high, number.4 AS growth\nFROM counted WHERE key IN {keys}"
    )


def _number(signal: Signal) -> str:
    """The number of one version, with its interval and growth, from its two facts."""
    line, less = repr(float(signal.line)), "greatest" if signal.below else "least"

    def capped(fact: str) -> str:
        held = f"multiIf({fact}.2 = {EMPTY}, {line}, {fact}.2 = {RENEWED}, 0., {fact}.2 = {UNSURE}, "
        return f"tuple({held}{less}({fact}.3, {line}), {fact}.3), {fact}.4, {fact}.5, {fact}.6)"

    if signal.long is None:
        return capped("one.1")
    long, short = capped("one.2"), capped("one.1")
    milder = f"{less}({long}, {short})"
    # The first short window over a new baseline clears: the long one may have ended before the change.
    return f"multiIf(one.1.2 = {RENEWED}, {short}, one.1.2 < {SURE}, {long}, {milder})"
