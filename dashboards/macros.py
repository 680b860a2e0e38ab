"""Expands Grafana's variables and ClickHouse macros as Grafana 13.2 and the data source plugin 4.20 do.

This makes every query of a panel, variable, annotation or rule executable without Grafana. There are two steps:

- The **frontend** (browser) expands `$__conditionalAll(…)`, then `$variable`, `${variable:format}`, `$__from`, `$__to`,
  `$__interval`, `$__interval_ms`. Rules do not pass through the frontend.
- The **backend** (plugin) blanks comments, then expands `$__timeFilter(column)` and the other macros, longest name
  first. It splits arguments at commas outside parentheses and leaves quoted text alone.

Grafana leaves an unknown name in the query, and ClickHouse fails on it. This module raises an error instead.

Source: grafana/clickhouse-datasource 4.20.0, `pkg/macros/macros.go` and `src/data/CHDatasource.ts`; grafana/scenes,
`formatRegistry.ts`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

_UNITS_MS = (("y", 31_536_000_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_GO_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_GO_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|us|µs|ns|h|m|s)")


def format_interval(interval_ms: int) -> str:
    """Format milliseconds in the largest unit that fits, rounded down: 300,000 → `5m`, 90,000 → `1m`."""
    for unit, size in _UNITS_MS:
        if interval_ms >= size:
            return f"{interval_ms // size}{unit}"
    return "1ms"


def go_duration_s(text: str) -> int | None:
    """Parse a Go duration (`5m`, `1h30m`, no days) into whole seconds; None if it is none, or shorter than 0.5 s."""
    parts = _GO_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    # Halves round up, not to even.
    seconds = int(sum(float(number) * _GO_UNITS_S[unit] for number, unit in parts) + 0.5)
    return seconds if seconds > 0 else None


# Steps in milliseconds. The second number is the smallest raw step that rounds up to the next entry.
_STEPS = (
    (1, 10), (10, 15), (20, 35), (50, 75), (100, 150), (200, 350), (500, 750),
    (1_000, 1_500), (2_000, 3_500), (5_000, 7_500), (10_000, 12_500), (15_000, 17_500), (20_000, 25_000),
    (30_000, 45_000), (60_000, 90_000), (120_000, 210_000), (300_000, 450_000), (600_000, 750_000),
    (900_000, 1_050_000), (1_200_000, 1_500_000), (1_800_000, 2_700_000), (3_600_000, 5_400_000),
    (7_200_000, 9_000_000), (10_800_000, 16_200_000), (21_600_000, 32_400_000), (43_200_000, 86_400_000),
    (86_400_000, 604_800_000), (604_800_000, 1_814_400_000), (2_592_000_000, 3_628_800_000),
)  # fmt: skip


def interval_ms(range_ms: int, max_data_points: int, least_ms: int) -> int:
    """Return the step that Grafana chooses: range divided by points, rounded, at least the panel's minimum.

    Args:
        max_data_points: points that the panel can show; by default its width in pixels.

    Source: grafana/grafana, `packages/grafana-data/src/datetime/rangeutil.ts`, `roundInterval`.
    """
    raw = range_ms / max_data_points
    at = bisect_right(_STEPS, raw, key=lambda step: step[1])
    step = _STEPS[at][0] if at < len(_STEPS) else 31_536_000_000
    return max(step, least_ms)


ALL = "$__all"
"""The value of a variable that is set to "All"."""

Value = str | tuple[str, ...]
"""The value of a variable: one value, or the selected values of a multi-value variable."""


class MacroError(ValueError):
    """A query contains a macro, a variable or a format that Grafana would not expand as intended."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The time range of a dashboard in Unix milliseconds, both ends inclusive."""

    from_ms: int
    to_ms: int

    @classmethod
    def between(cls, start: datetime, end: datetime) -> TimeRange:
        """Make the range between two time-zone-aware instants."""
        return cls(round(start.timestamp() * 1000), round(end.timestamp() * 1000))


def expand(sql: str, time_range: TimeRange, variables: Mapping[str, Value], *, interval_ms: int = 60_000) -> str:
    """Expand a dashboard query into the SQL that ClickHouse receives.

    Args:
        variables: the value of each variable by name; `ALL` for All.

    Raises:
        MacroError: a name or format is unknown, or an argument is missing.
    """
    return expand_backend(expand_frontend(sql, time_range, variables, interval_ms), time_range, interval_ms)


# The frontend.

_CONDITIONAL = "$__conditionalAll("
# $name, [[name]], [[name:format]], ${name}, ${name:format}
_VARIABLE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?::([^}]+))?\}")


def expand_frontend(sql: str, time_range: TimeRange, variables: Mapping[str, Value], interval_ms: int) -> str:
    """Expand a query as the browser does: in one pass, so that a `$` in a value is kept.

    Raises:
        MacroError: a variable or a format is unknown.
    """
    own: dict[str, Value] = {
        "__from": str(time_range.from_ms),
        "__to": str(time_range.to_ms),
        "__interval": format_interval(interval_ms),
        "__interval_ms": str(interval_ms),
    }
    known = {**variables, **own}

    def write(match: re.Match[str]) -> str:
        name = match[1] or match[2] or match[4]
        if name not in known:
            if name.startswith("__"):
                return match[0]  # the backend's
            raise MacroError(f"${name} is not a variable of this dashboard; it has {_listed(variables)}")
        return _formatted(name, known[name], match[3] or match[5])

    return _VARIABLE.sub(write, _conditions(sql, variables))


def _conditions(sql: str, variables: Mapping[str, Value]) -> str:
    # From the last to the first, so that nested conditions are expanded first.
    while (start := sql.rfind(_CONDITIONAL)) >= 0:
        arguments, end = _arguments(sql, start + len(_CONDITIONAL) - 1)
        if len(arguments) != 2:
            raise MacroError(f"$__conditionalAll takes a condition and a variable, but got {len(arguments)}")
        match = _VARIABLE.fullmatch(arguments[1].strip())
        name = match and (match[1] or match[4])
        if not name or name not in variables:
            raise MacroError(f"{arguments[1].strip()} is not a variable of this dashboard; write $name")
        selected = variables[name]
        is_all = (selected if isinstance(selected, str) else ",".join(selected)) in ("", ALL)
        sql = sql[:start] + ("1=1" if is_all else arguments[0]) + sql[end:]
    return sql


def _formatted(name: str, value: Value, form: str | None) -> str:
    if form is None:
        # The plugin's default: values of a multi-value variable are quoted but not escaped; a single value is not
        # quoted.
        return value if isinstance(value, str) else "'" + "','".join(value) + "'"
    if form not in _FORMATS:
        raise MacroError(f"${{{name}:{form}}} has an unsupported format; use {_listed(_FORMATS)}")
    return _FORMATS[form](name, value)


def _percent(text: str) -> str:
    # What encodeURIComponent leaves, without the marks that RFC 3986 reserves: !'()*
    return quote(text, safe="-_.~")


def _single_quoted(_name: str, value: Value) -> str:
    values = (value,) if isinstance(value, str) else value
    # Only quotes are escaped, backslashes are not.
    return ",".join("'" + one.replace("'", "\\'") + "'" for one in values)


def _query_parameter(name: str, value: Value) -> str:
    values = (value,) if isinstance(value, str) else value
    return "&".join(f"var-{name}={_percent(one)}" for one in values)


_FORMATS: dict[str, Callable[[str, Value], str]] = {
    "percentencode": lambda _, value: _percent(value if isinstance(value, str) else "{" + ",".join(value) + "}"),
    "queryparam": _query_parameter,
    "raw": lambda _, value: value if isinstance(value, str) else ",".join(value),
    "singlequote": _single_quoted,
}


# The backend.


@dataclass(frozen=True, slots=True)
class _Query:
    time_range: TimeRange
    interval_ms: int

    @property
    def interval_s(self) -> int:
        return max(self.interval_ms // 1000, 1)

    def seconds(self, milliseconds: int) -> str:
        return f"toDateTime({milliseconds // 1000})"

    def milliseconds(self, milliseconds: int) -> str:
        return f"fromUnixTimestamp64Milli({milliseconds})"

    def date(self, milliseconds: int) -> str:
        return f"toDate('{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d}')"

    def between(self, column: str, point: Callable[[int], str]) -> str:
        return f"{column} >= {point(self.time_range.from_ms)} AND {column} <= {point(self.time_range.to_ms)}"


def _date_and_time(query: _Query, date: str, time: str) -> str:
    return f"({query.between(date, query.date)}) AND ({query.between(time, query.seconds)})"


def _time_group(_query: _Query, column: str, period: str) -> str:
    seconds = go_duration_s(period.strip("'\""))
    if seconds is None:
        raise MacroError(f"$__timeGroup takes a duration such as 30s, 5m or 24h, but got {period}")
    return f"toStartOfInterval(toDateTime({column}), INTERVAL {seconds} second)"


MACROS: dict[str, tuple[int, Callable[..., str]]] = {
    "timeFilter": (1, lambda query, column: query.between(column, query.seconds)),
    "timeFilter_ms": (1, lambda query, column: query.between(column, query.milliseconds)),
    "dateFilter": (1, lambda query, column: query.between(column, query.date)),
    "dateTimeFilter": (2, _date_and_time),
    "dt": (2, _date_and_time),
    "timeFrom": (1, lambda query, column: f"{column} >= {query.seconds(query.time_range.from_ms)}"),
    "timeTo": (1, lambda query, column: f"{column} <= {query.seconds(query.time_range.to_ms)}"),
    "fromTime": (0, lambda query: query.seconds(query.time_range.from_ms)),
    "toTime": (0, lambda query: query.seconds(query.time_range.to_ms)),
    "fromTime_ms": (0, lambda query: query.milliseconds(query.time_range.from_ms)),
    "toTime_ms": (0, lambda query: query.milliseconds(query.time_range.to_ms)),
    "timeInterval": (
        1,
        lambda query, column: f"toStartOfInterval(toDateTime({column}), INTERVAL {query.interval_s} second)",
    ),
    "timeInterval_ms": (
        1,
        lambda query, column: (
            f"toStartOfInterval(toDateTime64({column}, 3), INTERVAL {max(query.interval_ms, 1)} millisecond)"
        ),
    ),
    "timeGroup": (2, _time_group),
    "interval_s": (0, lambda query: str(query.interval_s)),
    "interval_ms": (0, lambda query: str(query.interval_ms)),
    "interval": (0, lambda query: format_interval(query.interval_ms)),
}
"""Macro name without `$__` → number of arguments and expansion. Other names are unknown to this version of the plugin,
or unsupported here (`$__adHocFilters`)."""


def expand_backend(sql: str, time_range: TimeRange, interval_ms: int = 60_000) -> str:
    """Expand a query as the plugin does. The query of an alert rule goes through this step only.

    Args:
        interval_ms: the step in milliseconds; for a rule, `intervalMs` of its query model (1000 if not set).

    Raises:
        MacroError: a macro or variable is unknown to the plugin, or an argument is missing.
    """
    query = _Query(time_range, interval_ms)
    sql = without_comments(sql)
    for name in sorted(MACROS, key=lambda name: (-len(name), name)):
        count, write = MACROS[name]
        token = re.compile(rf"\$__{name}\b")
        position = 0
        while match := token.search(sql, position):
            position = match.end()
            if match.start() in _quoted(sql):
                continue
            arguments, end = (
                _arguments(sql, match.end()) if sql[match.end() : match.end() + 1] == "(" else ([], position)
            )
            arguments_list = [argument.strip() for argument in arguments if argument.strip()]
            if len(arguments_list) != count:
                raise MacroError(f"$__{name} takes {count} arguments, but got {len(arguments_list)}")
            written = write(query, *arguments_list)
            sql = sql[: match.start()] + written + sql[end:]
            # An argument may hold a macro of the same name.
            position = match.start()
    _refuse_unknown(sql)
    return sql


def _refuse_unknown(sql: str) -> None:
    quoted = _quoted(sql)
    for match in re.finditer(r"\$(\w+)|\$\{(\w+)", sql):
        if match.start() in quoted:
            continue
        name = match[1] or match[2]
        if name.startswith("__"):
            raise MacroError(f"$__{name[2:]} is not a macro of ClickHouse plugin 4.20; it has {_listed(MACROS)}")
        raise MacroError(f"${name} is a dashboard variable, which backend queries cannot use")


def without_comments(sql: str) -> str:
    """Replace comments by spaces, so that positions do not change."""
    blanked = list(sql)
    for start, end, kind in regions(sql):
        if kind == "comment":
            blanked[start:end] = [sign if sign == "\n" else " " for sign in sql[start:end]]
    return "".join(blanked)


_REGION = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
      | '(?:\\.|''|[^'\\])*(?:'|\Z) | "(?:\\.|[^"\\])*(?:"|\Z) | `(?:\\.|[^`\\])*(?:`|\Z)""",
    re.VERBOSE | re.DOTALL,
)


def regions(sql: str) -> list[tuple[int, int, str]]:
    """Find comments and quoted text as (start, end, kind)."""
    return [
        (match.start(), match.end(), "comment" if match["comment"] else "quoted") for match in _REGION.finditer(sql)
    ]


def _quoted(sql: str) -> set[int]:
    return {at for start, end, kind in regions(sql) if kind == "quoted" for at in range(start, end)}


def _arguments(sql: str, start: int) -> tuple[list[str], int]:
    """Split the arguments in the parentheses that open at `start`; return them and the end position."""
    depth, begin, arguments = 0, start + 1, []
    for at in range(start, len(sql)):
        sign = sql[at]
        if sign == "(":
            depth += 1
        elif sign == ")":
            depth -= 1
        if (sign == "," and depth == 1) or depth == 0:
            arguments.append(sql[begin:at])
            begin = at + 1
        if depth == 0:
            return arguments, at + 1
    raise MacroError(f"the parenthesis after {sql[:start][-30:]} is not closed")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
