"""Lint rules for the SQL of dashboards."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from dashboards.macros import BACKEND_MACROS, FRONTEND_MACROS, macros_of, quoted_texts, without_comments

Fault = tuple[str, str]
"""Rule and message."""

TIME_MACROS = frozenset(
    {"timeFilter", "timeFilter_ms", "dateFilter", "dateTimeFilter", "dt", "timeFrom", "timeTo"}
    | {"fromTime", "toTime", "fromTime_ms", "toTime_ms"}
)
RAW = ("predictions", "labels", "all_predictions", "labelled_predictions", "latest_labels", "duplicates")
"""Tables and views with one row per event."""

_NO_RANGE = re.compile(r"/\* no range: \S.*?\*/")
_VARIABLE = re.compile(r"\$(?!__)(\w+)|\$\{(?!__)(\w+)(?::(\w+))?\}|\[\[(\w+)")
_SAFE = re.compile(r"decodeURLComponent\('\$\{(\w+):percentencode\}'\)")
_WHETHER_ALL = re.compile(r"(?<=,) \$(?!__)(\w+)(?=\))")
_FROM_RAW = re.compile(rf"\b(?:FROM|JOIN)\s+(?:{'|'.join(RAW)})\b")


def sql_faults(sql: str, variables: Collection[str], *, by_time: bool, rows: bool) -> Iterator[Fault]:
    """Yield the rules that a query violates; one that shows every row (`rows`) needs a LIMIT."""
    bare = without_comments(sql)
    named = macros_of(sql)
    for name in named:
        if name not in BACKEND_MACROS | FRONTEND_MACROS:
            yield "macro", f"$__{name} is unknown to Grafana and to plugin 4.20"
    if any("$__" in text for text in quoted_texts(sql)):
        yield "quoted-macro", "a macro is inside quotes, where it is not expanded"
    if not TIME_MACROS & set(named) and not _NO_RANGE.search(sql):
        yield "time-filter", "has no condition on the time range; add one, or give the reason in /* no range: … */"
    if re.search(r"\bSELECT\s+(?:DISTINCT\s+)?(?:\w+\.)?\*", bare):
        yield "select-all", "selects every column; name the columns"
    if by_time and not re.search(r"\bORDER BY time\b[^()]*$", bare):
        yield "order", "is a time series without ORDER BY time"
    if rows and not re.search(r"\bLIMIT \d+\s*$", bare.rstrip()):
        yield "limit", "returns rows without a LIMIT"
    if _FROM_RAW.search(bare) and ("INTERVAL 1 HOUR" not in bare or "timeFilter" in named):
        yield "raw", "reads raw events over the whole range; read one hour of them, or aggregated tables"
    yield from _unsafe(sql, variables)


def _unsafe(sql: str, variables: Collection[str]) -> Iterator[Fault]:
    """Check quoting: variables appear as decodeURLComponent('${name:percentencode}'), or bare to test for All."""
    for match in (*_SAFE.finditer(sql), *_WHETHER_ALL.finditer(sql)):
        if match[1] not in variables:
            yield "variable", f"${match[1]} is not a variable of the page"
    rest = _WHETHER_ALL.sub("", _SAFE.sub("", sql))
    for match in _VARIABLE.finditer(rest):
        name = match[1] or match[2] or match[4]
        yield "quoting", f"${name} reaches ClickHouse unescaped; write decodeURLComponent('${{{name}:percentencode}}')"
