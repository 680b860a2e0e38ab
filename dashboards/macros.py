"""Grafana's variables and ClickHouse macros, written out as Grafana 13.2 and the data source's plugin 4.20 do.

With it any query of a panel, a variable, an annotation or a rule runs without Grafana. Two halves, as there:

- the **frontend**, in the browser: `$__conditionalAll(…)`, then `$variable`, `${variable:format}`, `$__from`, `$__to`,
  `$__interval`, `$__interval_ms`. Rules never pass through it.
- the **backend**, in the plugin: comments are blanked, then `$__timeFilter(column)` and the like are written out,
  longest name first, arguments split at commas outside parentheses. Text in quotes is left alone.

Where Grafana leaves an unknown name in the query for ClickHouse to fail on, this refuses it with a sentence.

Source: grafana/clickhouse-datasource 4.20.0, `pkg/macros/macros.go` and `src/data/CHDatasource.ts`; grafana/scenes,
`formatRegistry.ts`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from dashboards.durations import format_interval, go_duration_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ALL = "$__all"
"""The value of a variable on which "All" is chosen."""

Value = str | tuple[str, ...]
"""What a variable holds: one value, or those that are chosen of a multi-value variable."""


class MacroError(ValueError):
    """A query holds a macro, a variable or a format that Grafana would not write out, or not as it is meant."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The range of a dashboard, both ends inclusive, in milliseconds since 1970."""

    from_ms: int
    to_ms: int

    @classmethod
    def between(cls, start: datetime, end: datetime) -> TimeRange:
        """Take the range between two instants, which carry their time zone."""
        return cls(round(start.timestamp() * 1000), round(end.timestamp() * 1000))


def expand(sql: str, time_range: TimeRange, variables: Mapping[str, Value], *, interval_ms: int = 60_000) -> str:
    """Write a query of a dashboard out as it reaches ClickHouse.

    Args:
        sql: the query as it stands in the dashboard.
        time_range: the range of the dashboard.
        variables: each variable's value by name; `ALL` where All is chosen.
        interval_ms: the step that Grafana chose for the panel, in milliseconds.

    Raises:
        MacroError: a name or format is unknown, or arguments are missing.
    """
    return expand_backend(expand_frontend(sql, time_range, variables, interval_ms), time_range, interval_ms)


# The frontend.

_CONDITIONAL = "$__conditionalAll("
# $name, [[name]], [[name:format]], ${name}, ${name:format}
_VARIABLE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?::([^}]+))?\}")


def expand_frontend(sql: str, time_range: TimeRange, variables: Mapping[str, Value], interval_ms: int) -> str:
    """Do what the browser does to a query: one pass, so that a `$` in a value stays what it is.

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
            raise MacroError(f"${name} is no variable of this dashboard; it has {_listed(variables)}")
        return _formatted(name, known[name], match[3] or match[5])

    return _VARIABLE.sub(write, _conditions(sql, variables))


def _conditions(sql: str, variables: Mapping[str, Value]) -> str:
    # From the last one on, so that one inside another is done first.
    while (start := sql.rfind(_CONDITIONAL)) >= 0:
        arguments, end = _arguments(sql, start + len(_CONDITIONAL) - 1)
        if len(arguments) != 2:
            raise MacroError(f"$__conditionalAll takes a condition and a variable, and was given {len(arguments)}")
        found = _VARIABLE.fullmatch(arguments[1].strip())
        name = found and (found[1] or found[4])
        if not name or name not in variables:
            raise MacroError(f"{arguments[1].strip()} is no variable of this dashboard: write $name")
        chosen = variables[name]
        everything = (chosen if isinstance(chosen, str) else ",".join(chosen)) in ("", ALL)
        sql = sql[:start] + ("1=1" if everything else arguments[0]) + sql[end:]
    return sql


def _formatted(name: str, value: Value, form: str | None) -> str:
    if form is None:
        # The plugin's own: values of a multi-value variable are quoted and not escaped, a single one is not quoted.
        return value if isinstance(value, str) else "'" + "','".join(value) + "'"
    if form not in _FORMATS:
        raise MacroError(f"${{{name}:{form}}} has a format that is not used here; write {_listed(_FORMATS)}")
    return _FORMATS[form](name, value)


def _percent(text: str) -> str:
    # What encodeURIComponent leaves, without the marks that RFC 3986 reserves: !'()*
    return quote(text, safe="-_.~")


def _percent_encoded(_name: str, value: Value) -> str:
    return _percent(value if isinstance(value, str) else "{" + ",".join(value) + "}")


def _single_quoted(_name: str, value: Value) -> str:
    values = (value,) if isinstance(value, str) else value
    # Quotes alone are escaped; a backslash is not.
    return ",".join("'" + one.replace("'", "\\'") + "'" for one in values)


def _query_parameter(name: str, value: Value) -> str:
    values = (value,) if isinstance(value, str) else value
    return "&".join(f"var-{name}={_percent(one)}" for one in values)


def _raw(_name: str, value: Value) -> str:
    return value if isinstance(value, str) else ",".join(value)


_FORMATS: dict[str, Callable[[str, Value], str]] = {
    "percentencode": _percent_encoded,
    "queryparam": _query_parameter,
    "raw": _raw,
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
        raise MacroError(f"$__timeGroup takes a duration such as 30s, 5m or 24h, and was given {period}")
    return f"toStartOfInterval(toDateTime({column}), INTERVAL {seconds} second)"


_MACROS: dict[str, tuple[int, Callable[..., str]]] = {
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
"""Name → the number of arguments, and what it becomes."""

BACKEND_MACROS = frozenset(_MACROS)
FRONTEND_MACROS = frozenset({"conditionalAll", "from", "to", "interval", "interval_ms"})
"""Names without `$__`; others are unknown to these versions, or not used here (`$__adHocFilters`)."""

_NAME = re.compile(r"\$__(\w+)")


def expand_backend(sql: str, time_range: TimeRange, interval_ms: int = 60_000) -> str:
    """Do what the plugin does to a query before ClickHouse gets it; of a rule's query this is all that is done.

    Args:
        sql: the query.
        time_range: the range that is asked for.
        interval_ms: the step; of a rule its model's `intervalMs`, which is 1000 where it is not set.

    Raises:
        MacroError: a macro or a variable is unknown to the plugin, or its arguments are missing.
    """
    query = _Query(time_range, interval_ms)
    sql = without_comments(sql)
    for name in sorted(_MACROS, key=lambda name: (-len(name), name)):
        count, write = _MACROS[name]
        token = re.compile(rf"\$__{name}\b")
        position = 0
        while found := token.search(sql, position):
            position = found.end()
            if found.start() in _quoted(sql):
                continue
            arguments, end = (
                _arguments(sql, found.end()) if sql[found.end() : found.end() + 1] == "(" else ([], position)
            )
            given = [argument.strip() for argument in arguments if argument.strip()]
            if len(given) != count:
                raise MacroError(f"$__{name} takes {count} arguments, and was given {len(given)}")
            written = write(query, *given)
            sql = sql[: found.start()] + written + sql[end:]
            # An argument may hold a macro of the same name.
            position = found.start()
    _refuse_unknown(sql)
    return sql


def _refuse_unknown(sql: str) -> None:
    quoted = _quoted(sql)
    for found in re.finditer(r"\$(\w+)|\$\{(\w+)", sql):
        if found.start() in quoted:
            continue
        name = found[1] or found[2]
        if name.startswith("__"):
            raise MacroError(f"$__{name[2:]} is no macro of the ClickHouse plugin 4.20; it has {_listed(_MACROS)}")
        raise MacroError(f"${name} is a variable of a dashboard, which a query in the backend does not know")


def without_comments(sql: str) -> str:
    """Blank out the comments of a query, each by as many spaces, so that positions stay."""
    blanked = list(sql)
    for start, end, kind in _regions(sql):
        if kind == "comment":
            blanked[start:end] = [sign if sign == "\n" else " " for sign in sql[start:end]]
    return "".join(blanked)


def quoted_texts(sql: str) -> list[str]:
    """List what stands in quotes, with its quotes."""
    return [sql[start:end] for start, end, kind in _regions(sql) if kind == "quoted"]


def macros_of(sql: str) -> list[str]:
    """List the macros that a query names outside comments and quotes, without `$__`, in their order."""
    sql = without_comments(sql)
    quoted = _quoted(sql)
    return [found[1] for found in _NAME.finditer(sql) if found.start() not in quoted]


_REGION = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
      | '(?:\\.|''|[^'\\])*(?:'|\Z) | "(?:\\.|[^"\\])*(?:"|\Z) | `(?:\\.|[^`\\])*(?:`|\Z)""",
    re.VERBOSE | re.DOTALL,
)


def _regions(sql: str) -> list[tuple[int, int, str]]:
    """Find comments and quoted text, as (start, end, kind)."""
    return [
        (found.start(), found.end(), "comment" if found["comment"] else "quoted") for found in _REGION.finditer(sql)
    ]


def _quoted(sql: str) -> set[int]:
    return {at for start, end, kind in _regions(sql) if kind == "quoted" for at in range(start, end)}


def _arguments(sql: str, start: int) -> tuple[list[str], int]:
    """Split what stands in the parentheses that open at `start`; returns the arguments and where they end."""
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
    raise MacroError(f"the parenthesis after {sql[:start][-30:]} is never closed")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
