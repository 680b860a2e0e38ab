"""Signals: one number per key as a step function of time, from the same SQL at one time and over a history.

A signal reads *facts*: a SELECT whose rows each describe one key (a field, a metric) and version, for event time up to
`until`. At any time the newest fact of each key and version applies. `point_sql` evaluates one time, for an alert rule;
`series_sql` evaluates every time at which the value may change, for panels, the simulator and the backtest. The two
queries differ only in their `ticks`.

A fact has one of five states. Insufficient data neither fires nor clears an alert; `observed` is the value without the
cap, for messages:

| state | meaning | number |
|---|---|---|
| `EMPTY` | no data | the threshold |
| `RENEWED` | too little data on a baseline that is younger than the window | 0 |
| `UNSURE` | too little data | the value, capped at the threshold |
| `SURE` | enough data | the value |
| `AMPLE` | enough data for a window to decide alone | the value |
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from barograph_server.warehouse.signals.literals import literal

EMPTY, RENEWED, UNSURE, SURE, AMPLE = range(5)
DETAILS = ("version", "window", "until", "from", "to", "reason", "cause")
"""Labels of the observed value, for messages and links: the version and the window that decide, the end of this window,
a range in milliseconds for Grafana's URLs, a sentence with the reason if data are insufficient, and sentences on the
change (`Signal.changes`)."""

ONSET_REACH_S = 35 * 86_400
"""Age up to which messages search the start of a change, in seconds."""
FactTime = Literal["now", "ended", "judged"]
"""The time from which a fact counts. `now`: from the end of its window, with all rows in the table, as for an alert
rule. `ended`: from the earliest time at which it could be known, for replayed history. `judged`: from the time it was
written, for live history; every revision then counts from its own time."""


@dataclass(frozen=True, slots=True)
class EventTimeRange:
    """A range (start, end] of event time, as SQL expressions in Unix seconds."""

    start: str
    end: str


ONSET_REACH = EventTimeRange(f"(toUnixTimestamp(now()) - {ONSET_REACH_S})", "toUnixTimestamp(now())")


@dataclass(frozen=True, slots=True)
class Facts:
    """The query for a signal's facts."""

    select: Callable[[EventTimeRange, FactTime], str]
    """Builds the SELECT of the facts that end in a range. Its columns: `key`, `version`, `until` (Unix seconds),
    `ended_at` and `judged_at` (the times from which it counts), `rank` (of two facts the greater rank counts) and
    `verdict`: state, value, low, high, the growth of the value per second after `until` and, with `has_reason`, the
    reason for insufficient data."""
    stale_s: int
    """Age in seconds at which a fact expires."""
    window: str = ""
    """The name of the facts' window."""
    has_reason: bool = False

    def rows(self, period: EventTimeRange, fact_time: FactTime) -> str:
        """Return the query for the fact that applies from each time: `key`, `version`, `time`, `end`, `verdict`."""
        base = self.select(period, fact_time)
        if fact_time != "judged":
            time = "until" if fact_time == "now" else "ended_at"
            return (
                f"SELECT key, version, {time} AS time, argMax(until, rank) AS end, "
                f"argMax(fact.verdict, rank) AS verdict FROM ({base}) AS fact GROUP BY key, version, time"
            )
        # A revision of an older window does not change the current state.
        newest = "max(rank) OVER (PARTITION BY key, version ORDER BY judged_at ASC RANGE UNBOUNDED PRECEDING)"
        return (
            "SELECT key, version, judged_at AS time, argMax(until, rank) AS end, argMax(fact.verdict, rank) AS verdict "
            f"FROM (SELECT *, {newest} AS newest FROM ({base})) AS fact WHERE rank = newest GROUP BY key, version, time"
        )


@dataclass(frozen=True, slots=True)
class Signal:
    """One number per key, which breaches its threshold by exceeding it, or by falling below it."""

    label: str
    """Name of the key column; empty if there is only one key."""
    keys: tuple[str, ...]
    """All keys; each always has a row. `('',)` if there is only one."""
    threshold: float
    short: Facts
    """The facts that decide together with `long`, or alone."""
    long: Facts | None = None
    """The facts of the longer window; if `short` has too little data, it decides alone."""
    fast: tuple[Facts, ...] = ()
    """The facts of further windows shorter than that of `long`."""
    fast_threshold: float | None = None
    """If `short` or one of `fast` is `AMPLE` and its whole interval is above this value, it breaches the threshold
    alone. None: never."""
    below: bool = False
    """Whether values below the threshold breach it. Such signals have no `fast_threshold`."""
    has_versions: bool = True
    """Whether facts have versions; otherwise `version` is empty, and the query is cheaper."""
    changes: str = ""
    """The query for the columns `key` and `change`: sentences on a key beyond the threshold, with a space before: since
    when, which other keys are, and the most likely cause. Empty: nothing is known."""
    has_further_keys: bool = False
    """Whether facts have keys besides `keys`, which have a row for as long as they have a fact within `reach_s`. Such
    signals have `has_versions`."""

    @property
    def reach_s(self) -> int:
        """Maximum age of a fact that still counts, in seconds."""
        return max(part.stale_s for part in _parts(self).values())


def since(facts: Facts, threshold: float, below: bool = False, met: str = "") -> str:
    """Return the query for `Signal.changes` that says since when the value of each key is beyond a threshold.

    A fact without data ends nothing; of several versions the one that is longest beyond it counts.

    Args:
        met: a query for the column `end`: the ends of the times that met the threshold. The change then began after the
            last of them before the end of the first window beyond it.
    """
    beyond = f"verdict.2 {'<' if below else '>'} {float(threshold)!r}"
    start = (
        "SELECT key, version, maxIf(end, NOT beyond) AS last_met, "
        "arrayMin(arrayFilter(at -> at > last_met, groupArrayIf(end, beyond))) AS start "
        f"FROM (SELECT *, {beyond} AS beyond FROM ({facts.rows(ONSET_REACH, 'now')}) WHERE verdict.1 != {EMPTY}) "
        "GROUP BY key, version HAVING maxIf(end, beyond) > last_met"
    )
    if met:
        ends = f"(SELECT groupArray(toUInt32(end)) FROM ({met}))"
        last = f"arrayMax(arrayPushFront(arrayFilter(at -> at < first.start, {ends}), toUInt32(0)))"
        start = f"SELECT key, if({last} = 0, toUInt32(first.start), {last}) AS start FROM ({start}) AS first"
    words = f" {'Below' if below else 'Above'} it since "
    written = "formatDateTime(toDateTime(min(start), 'UTC'), '%F %H:%i UTC')"
    return f"SELECT key, concat({literal(words)}, {written}, '.') AS change FROM ({start}) GROUP BY key"


def point_sql(
    signal: Signal,
    column: str = "value",
    at: str = "toUnixTimestamp($__toTime)",
    shown_s: int | None = None,
    bound_digits: int | None = None,
) -> str:
    """Return the query for the label (a String) and one number per key at one time.

    Args:
        column: `value`, `low`, `high` or `observed`.
        at: the time in Unix seconds; by default the end of Grafana's range.
        shown_s: if given, the labels of `DETAILS` are added, and `from` is this many seconds before `to`.
        bound_digits: if given, the labels `low` and `high` are added, with this many digits after the decimal point.
    """
    period = EventTimeRange(f"({at} - {signal.reach_s})", at)
    label = f"key AS {signal.label}, " if signal.label else ""
    states = _state_sql(signal, period, "now", f"SELECT toUInt32({at}) AS at")
    details = "" if shown_s is None else f"{_details_sql(signal, shown_s)}, "
    if bound_digits is not None:
        details += "".join(f"toDecimalString({bound}, {bound_digits}) AS {bound}, " for bound in ("low", "high"))
    causes = f"\nLEFT ANY JOIN (\n{signal.changes}\n) AS changes USING (key)" if signal.changes and shown_s else ""
    return f"SELECT {label}{details}{column}\nFROM (\n{states}\n) AS states{causes}\nORDER BY key"


def series_sql(signal: Signal, period: EventTimeRange, fact_time: FactTime = "ended", step_s: str = "1") -> str:
    """Return the query for every time of a range at which a signal may change.

    The columns are `at`, `key`, `value`, `low`, `high`, `growth`, `observed`, `version`, `window`, `end` and `reason`.

    Args:
        period: the range; earlier facts are read if they still apply in it.
        step_s: times are rounded up to multiples of this number of seconds, an SQL expression.

    Returns:
        The SQL; its rows ascend by `at`, then `key`. A row applies until the next row of its key; meanwhile its value
        grows by `growth` per second.
    """
    wide = EventTimeRange(f"({period.start} - {2 * signal.reach_s})", period.end)
    changes = " UNION ALL ".join(
        f"SELECT arrayJoin([time, end + {part.stale_s + 1}]) AS at FROM {name}" for name, part in _parts(signal).items()
    )
    ticks = (
        f"SELECT DISTINCT toUInt32(intDiv(greatest(at, {period.start}) + {step_s} - 1, {step_s}) * {step_s}) AS at "
        f"FROM ({changes} UNION ALL SELECT {period.start} AS at) WHERE at <= {period.end}"
    )
    states = _state_sql(signal, wide, fact_time, ticks)
    columns = "at, key, value, low, high, growth, observed, version, window, end, reason"
    return f"SELECT {columns}\nFROM (\n{states}\n)\nORDER BY at, key"


def panel_sql(signal: Signal) -> str:
    """Return the query for a signal over a panel's range, as a time series: `time`, `metric` (the key), `value`."""
    period = EventTimeRange("toUnixTimestamp($__fromTime)", "toUnixTimestamp($__toTime)")
    series = series_sql(signal, period, "now", "greatest(1, $__interval_s)")
    metric = "key AS metric, " if signal.label else ""
    return f"SELECT toDateTime(at) AS time, {metric}value FROM ({series}) ORDER BY time"


def _parts(signal: Signal) -> dict[str, Facts]:
    """Return the facts of a signal by the name of their common table expression, `short` first."""
    fast = {f"fast_{i}": part for i, part in enumerate(signal.fast)}
    return {"short": signal.short} | ({"long": signal.long} if signal.long else {}) | fast


def _state_sql(signal: Signal, period: EventTimeRange, fact_time: FactTime, ticks: str) -> str:
    """Return the query for the columns of `series_sql`, of each tick and key."""
    parts = _parts(signal)
    keys = f"[{', '.join(map(literal, signal.keys))}]"
    no_fact = f"tuple(toUInt32(0), toUInt8({EMPTY}), 0., nan, nan, 0., '')"
    versions = "".join(f" UNION DISTINCT SELECT key, version FROM {name}" for name in parts if signal.has_versions)
    joins = "".join(
        f"\nASOF LEFT JOIN {name} ON grid.key = {name}.key AND grid.version = {name}.version AND grid.at >= {name}.time"
        for name in parts
    )
    facts = ", ".join(
        f"if({name}.time = 0 OR at > {name}.end + {part.stale_s}, {no_fact}, tuple({name}.end, {name}.verdict.1, "
        f"{name}.verdict.2 + {name}.verdict.5 * (at - {name}.end), {name}.verdict.3, {name}.verdict.4, "
        f"{name}.verdict.5, {_reason_sql(name) if part.has_reason else literal('')}))"
        for name, part in parts.items()
    )
    best = "arrayMin" if signal.below else "arrayMax"
    tables = {
        **{name: part.rows(period, fact_time) for name, part in parts.items()},
        "grid": (
            "SELECT ticks.at AS at, keys.key AS key, keys.version AS version "
            f"FROM ({ticks}) AS ticks CROSS JOIN (SELECT arrayJoin({keys}) AS key, '' AS version{versions}) AS keys"
        ),
        "facts": f"SELECT grid.at AS at, grid.key AS key, tuple({facts}, grid.version) AS fact FROM grid{joins}",
        # Versions with traffic in the newest short window count; if there are none, all versions count.
        "versions": (
            "SELECT at, key, groupArray(fact) AS facts_of_versions, "
            "arrayMax(arrayMap(one -> one.1.1, facts_of_versions)) AS newest, "
            f"arrayFilter(one -> one.1.1 = newest AND one.1.2 != {EMPTY}, facts_of_versions) AS busy, "
            "if(empty(busy), facts_of_versions, busy) AS selected FROM facts GROUP BY at, key"
        ),
    }
    where = "" if signal.has_further_keys else f" WHERE key IN {keys}"
    ctes = ",\n".join(f"{name} AS (\n{sql}\n)" for name, sql in tables.items())
    return (
        f"WITH {ctes}\nSELECT at, key, {best}(arrayMap(one -> {_number(signal)}, selected)) AS number, "
        f"number.1 AS value, number.2 AS low, number.3 AS high, number.4 AS growth, "
        "number.5 AS observed, if(number.6 = '', 'unknown', splitByChar('\\n', number.6)[1]) AS version, "
        f"number.7 AS window, number.8 AS end, number.9 AS reason\nFROM versions{where}"
    )


def _reason_sql(name: str) -> str:
    """Return the sentence on insufficient data of a fact, with a space before it; empty for other facts."""
    return f"if({name}.verdict.6 = '', '', concat(' Insufficient data: ', {name}.verdict.6, '.'))"


def _details_sql(signal: Signal, shown_s: int) -> str:
    """Return the expressions of `DETAILS`; without a fact, the range ends now."""
    texts = {
        "until": "if(end = 0, 'now', formatDateTime(toDateTime(end, 'UTC'), '%F %H:%i UTC'))",
        "from": f"if(end = 0, 'now-{shown_s}s', toString((toInt64(end) - {shown_s}) * 1000))",
        "to": "if(end = 0, 'now', toString(toInt64(end) * 1000))",
        "cause": "change" if signal.changes else "''",
    }
    return ", ".join(f"{texts.get(name, name)} AS `{name}`" for name in DETAILS)


def _number(signal: Signal) -> str:
    """Return the expression for a version's number, with its interval, growth, observed value and details.

    The number is the observed value, unless too little data caps it, or a fast window decides: then it is the lower end
    of that window's interval, scaled so that `fast_threshold` becomes the threshold. So the clear threshold of the rule
    applies to it in proportion.
    """
    threshold, milder_of = repr(float(signal.threshold)), "greatest" if signal.below else "least"

    parts = list(_parts(signal).values())

    def details(i: int) -> str:
        return f"one.{len(parts) + 1}, {literal(parts[i - 1].window)}, one.{i}.1, one.{i}.7"

    def capped(i: int) -> str:
        fact = f"one.{i}"
        value = f"multiIf({fact}.2 = {EMPTY}, {threshold}, {fact}.2 = {RENEWED}, 0., {fact}.2 = {UNSURE}, "
        return (
            f"tuple({value}{milder_of}({fact}.3, {threshold}), {fact}.3), {fact}.4, {fact}.5, {fact}.6, "
            f"if({fact}.2 = {EMPTY}, nan, {fact}.3), {details(i)})"
        )

    if signal.long is None:
        return capped(1)
    long, short = capped(2), capped(1)
    milder = f"{milder_of}({long}, {short})"
    number = f"if(one.1.2 < {SURE}, {long}, {milder})"
    if signal.fast_threshold is not None:
        scale = float(signal.threshold) / signal.fast_threshold
        fast = [
            f"tuple(if(one.{i}.2 = {AMPLE}, one.{i}.4 * {scale!r}, 0.), one.{i}.4, one.{i}.5, 0., one.{i}.3, "
            f"{details(i)})"
            for i in (1, *range(3, 1 + len(parts)))
        ]
        number = f"arrayMax([{', '.join([number, *fast])}])"
    # The first short window on a new baseline clears the alert: the long window may have ended before the change.
    return f"if(one.1.2 = {RENEWED}, {short}, {number})"
