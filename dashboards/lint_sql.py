"""What must hold of the SQL in a dashboard."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from dashboards.macros import BACKEND_MACROS, FRONTEND_MACROS, macros_of, quoted_texts, without_comments

Fault = tuple[str, str]
"""A rule and what is wrong."""

TIME_MACROS = frozenset(
    {"timeFilter", "timeFilter_ms", "dateFilter", "dateTimeFilter", "dt", "timeFrom", "timeTo"}
    | {"fromTime", "toTime", "fromTime_ms", "toTime_ms"}
)
RAW = ("predictions", "labels", "all_predictions", "predictions_labelled", "last_labels", "duplicates")
"""Tables and views that hold or read a row per event."""

_NO_RANGE = re.compile(r"/\* no range: \S.*?\*/")
_VARIABLE = re.compile(r"\$(?!__)(\w+)|\$\{(?!__)(\w+)(?::(\w+))?\}|\[\[(\w+)")
_SAFE = re.compile(r"decodeURLComponent\('\$\{(\w+):percentencode\}'\)")
_WHETHER_ALL = re.compile(r"(?<=,) \$(\w+)(?=\))")
_FROM_RAW = re.compile(rf"\b(?:FROM|JOIN)\s+(?:{'|'.join(RAW)})\b")


def sql_faults(sql: str, variables: Collection[str], *, by_time: bool, rows: bool) -> Iterator[Fault]:
    """Name the rules that do not hold of a query.

    Args:
        sql: the query as it stands in the dashboard.
        variables: the names of the page's variables.
        by_time: whether it is a time series.
        rows: whether each of its rows is shown, so that there must not be any number of them.
    """
    bare = without_comments(sql)
    named = macros_of(sql)
    for name in named:
        if name not in BACKEND_MACROS | FRONTEND_MACROS:
            yield "macro", f"$__{name} is unknown to Grafana or to the plugin 4.20"
    if any("$__" in text for text in quoted_texts(sql)):
        yield "quoted-macro", "a macro stands in quotes, where it is not written out"
    if not TIME_MACROS & set(named) and not _NO_RANGE.search(sql):
        yield "time-filter", "has no condition on the range; add one, or say why in /* no range: … */"
    if re.search(r"\bSELECT\s+(?:DISTINCT\s+)?(?:\w+\.)?\*", bare):
        yield "select-all", "selects every column; name those that are wanted"
    if by_time and not re.search(r"\bORDER BY time\b[^()]*$", bare):
        yield "order", "is a time series that is not ordered by time"
    if rows and not re.search(r"\bLIMIT \d+\s*$", bare.rstrip()):
        yield "limit", "shows rows without a LIMIT"
    if _FROM_RAW.search(bare) and ("INTERVAL 1 HOUR" not in bare or "timeFilter" in named):
        yield "raw", "reads single events over the whole range; read an hour of them, or what is counted"
    yield from _unsafe(sql, variables)


def _unsafe(sql: str, variables: Collection[str]) -> Iterator[Fault]:
    """Variables reach SQL as decodeURLComponent('${name:percentencode}'), and bare to tell whether All is chosen."""
    for found in (*_SAFE.finditer(sql), *_WHETHER_ALL.finditer(sql)):
        if found[1] not in variables:
            yield "variable", f"${found[1]} is no variable of its page"
    rest = _WHETHER_ALL.sub("", _SAFE.sub("", sql))
    for found in _VARIABLE.finditer(rest):
        name = found[1] or found[2] or found[4]
        yield "quoting", f"${name} reaches ClickHouse as it is; write decodeURLComponent('${{{name}:percentencode}}')"
